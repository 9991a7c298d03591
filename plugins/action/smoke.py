# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action behind selfhosted.llm.smoke; its documentation is in plugins/modules/smoke.py."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from textwrap import shorten
from typing import NamedTuple, Protocol

from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.running import Running
from ansible_collections.selfhosted.llm.plugins.module_utils.openai import EMBEDDINGS, ROUTES, Answer, Endpoint, EndpointError
from ansible_collections.selfhosted.llm.plugins.plugin_utils.running import RunningAction, say
from ansible_collections.selfhosted.llm.plugins.plugin_utils.table import table

MODELS = "/v1/models"
# What an engine says to a key that is not its own.
REFUSED = (401, 403)


class ActionModule(RunningAction):
    """Ask a deployment in all ways it can be asked, and print what it answers."""

    def execute(self, args: dict, host: str) -> dict:
        with self.running(args, args["instance"]) as (deployment,):
            questions = list(_questions(deployment))
            if self._task.check_mode:
                say([f"{host}: would ask {len(questions)} questions:", *(f"  {question.route}, {question.how}" for question in questions)])
                return {"changed": False, "answers": []}
            rows = [_row(question, deployment) for question in questions]
        say([f"{host}: {deployment.engine}", *table([{name.replace("_", " "): value for name, value in row.items()} for row in rows])])
        wrong = [f"{row['route']}, {row['how']}: {row['result']}" for row in rows if row["result"] not in ("ok", "refused")]
        if wrong:
            raise UserError(f"{host}: {len(wrong)} of {len(rows)} questions went wrong: {'; '.join(wrong)}.")
        return {"changed": False, "answers": rows}


class Ask(Protocol):
    """Puts a question; None where the answer is no text."""

    def __call__(self, endpoint: Endpoint) -> Answer | None: ...


class Question(NamedTuple):
    """One line of the table."""

    route: str
    how: str
    ask: Ask


def _questions(deployment: Running) -> Iterator[Question]:
    yield Question(MODELS, "at once", _name)
    if deployment.embeds:
        asks = [Question(EMBEDDINGS, "at once", Endpoint.embed)]
    else:
        routes = [(path, route) for path, route in ROUTES.items() if route.engine in (None, deployment.engine)]
        asks = [
            Question(path, how, partial(_complete, path=path, stream=stream))
            for path, route in routes
            for how, stream, can in (("at once", False, route.whole), ("streamed", True, route.stream is not None))
            if can
        ]
    yield from asks
    if deployment.key:
        for route, question in {question.route: question for question in asks}.items():
            yield Question(route, "with a wrong key", partial(_refuse, ask=question.ask))


def _name(endpoint: Endpoint) -> None:
    served = endpoint.models()
    if endpoint.model not in served:
        raise EndpointError(f"it serves {' and '.join(served) or 'nothing'}")


def _complete(endpoint: Endpoint, path: str, stream: bool) -> Answer:
    return endpoint.ask(path, stream=stream)


def _refuse(endpoint: Endpoint, ask: Ask) -> None:
    endpoint.key = "not-the-key"
    try:
        ask(endpoint)
    except EndpointError as error:
        if error.status not in REFUSED:
            raise
    else:
        raise EndpointError("it answers whoever asks")


def _row(question: Question, deployment: Running) -> dict[str, str]:
    answer = None
    try:
        answer = question.ask(deployment.endpoint())
        result = "refused" if question.how == "with a wrong key" else "ok"
    except EndpointError as error:
        result = shorten(str(error), 90, placeholder=" ...")
    return {
        "route": question.route,
        "how": question.how,
        "result": result,
        "first_token": f"{answer.first_token:.2f} s" if answer and answer.first_token else "-",
        "tokens_per_second": f"{answer.tokens_per_second:.1f}" if answer else "-",
    }
