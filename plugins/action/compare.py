# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action behind selfhosted.llm.compare; its documentation is in plugins/modules/compare.py."""

from __future__ import annotations

import json
import os
import statistics

from ansible_collections.selfhosted.llm.plugins.module_utils import measure
from ansible_collections.selfhosted.llm.plugins.module_utils.engines import CONTRACTS
from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.files import now, write_atomically
from ansible_collections.selfhosted.llm.plugins.module_utils.inventory_rules import engineer_of
from ansible_collections.selfhosted.llm.plugins.module_utils.openai import CHAT, Endpoint
from ansible_collections.selfhosted.llm.plugins.plugin_utils.running import RunningAction, say
from ansible_collections.selfhosted.llm.plugins.plugin_utils.table import table


class ActionModule(RunningAction):
    """Put the same prompts to two deployments, and say how fast and how alike their answers are."""

    argument_spec = RunningAction.argument_spec | {
        "other": {"type": "str", "required": True},
        "prompts": {"type": "list", "elements": "str", "required": True},
        "answer_tokens": {"type": "int", "default": 128},
        "dest": {"type": "path", "required": True},
    }

    def execute(self, args: dict, host: str) -> dict:
        self._check_other(args["other"], host)
        names = (args["instance"], args["other"])
        if self._task.check_mode:
            say([f"{host}: would put {len(args['prompts'])} prompts to it and to {args['other']}, and write {args['dest']}."])
            return {"changed": False}
        with self.running(args, *names) as deployments:
            for deployment in deployments:
                if deployment.embeds:
                    raise UserError(f"{deployment.name} serves embeddings, and completes nothing that could be compared.")
            endpoints = [deployment.endpoint() for deployment in deployments]
            for endpoint in endpoints:
                endpoint.chat()  # what only the first request of a new pod waits for is not measured
            asked = [_ask(endpoints, prompt, args["answer_tokens"]) for prompt in args["prompts"]]
        comparison = {
            "made": now(),
            "deployments": [deployment.facts() for deployment in deployments],
            "agreement": _agreement(asked),
            "prompts": asked,
        }
        write_atomically(os.path.expanduser(args["dest"]), json.dumps(comparison, indent=1, ensure_ascii=False) + "\n", 0o600)
        say([*table(_rows(comparison)), *_notes(comparison), f"Answers are in {args['dest']}."])
        if failures := [answer["failure"] for one in asked for answer in one["answers"] if "failure" in answer]:
            raise UserError(f"{host}: {len(failures)} answers are missing: {failures[0]}.")
        return {"changed": False, "comparison": comparison}

    def _check_other(self, other: str, host: str) -> None:
        """Raise a sentence unless the other one is another deployment of the same engineer."""
        engineer = engineer_of(self._vars["group_names"])
        theirs = [name for name in self._vars["groups"][f"engineer_{engineer}"] if name != host]
        if other in theirs:
            return
        if other in CONTRACTS:
            raise UserError(
                f"llm_compare_with is {other}, an engine, and wants a deployment: add {host}-{other.replace('_', '')} with the llm_model "
                f"of {host} to the groups engineer_{engineer} and {other}, run site.yml, and give that name."
            )
        choice = f"the others are {', '.join(theirs)}" if theirs else "there is no other"
        raise UserError(f"llm_compare_with is {other!r}, and must be another deployment of {engineer} than {host}: {choice}.")


def _ask(endpoints: list[Endpoint], prompt: str, tokens: int) -> dict:
    answers = []
    for endpoint in endpoints:
        try:
            answer = endpoint.ask(CHAT, prompt, tokens, stream=True)
            answers.append(
                {
                    "text": answer.text,
                    "tokens": answer.tokens,
                    "first_token": round(answer.first_token, 3),
                    "seconds": round(answer.seconds, 3),
                    "tokens_per_second": round(answer.tokens_per_second, 1),
                }
            )
        except UserError as error:
            answers.append({"failure": f"{endpoint.model}: {error}"})
    texts = [answer["text"] for answer in answers if "text" in answer]
    return {"prompt": prompt, "answers": answers, "similarity": round(measure.similarity(*texts), 3) if len(texts) == 2 else None}


def _agreement(asked: list[dict]) -> dict:
    both = [one for one in asked if one["similarity"] is not None]
    if not both:
        return {"prompts": 0, "same": 0, "similarity": None}
    same = sum(one["answers"][0]["text"] == one["answers"][1]["text"] for one in both)
    return {"prompts": len(both), "same": same, "similarity": round(statistics.mean(one["similarity"] for one in both), 3)}


def _rows(comparison: dict) -> list[dict[str, str]]:
    rows = []
    for place, deployment in enumerate(comparison["deployments"]):
        answers = [one["answers"][place] for one in comparison["prompts"] if "text" in one["answers"][place]]
        medians = {
            column: f"{statistics.median(answer[key] for answer in answers):.{digits}f}{unit}" if answers else "-"
            for column, key, digits, unit in (
                ("first token", "first_token", 2, " s"),
                ("whole answer", "seconds", 2, " s"),
                ("tokens/s", "tokens_per_second", 1, ""),
            )
        }
        row = {key: deployment[key] for key in ("deployment", "engine", "model", "share")}
        rows.append(row | {"answers": f"{len(answers)} of {len(comparison['prompts'])}"} | medians)
    return rows


def _notes(comparison: dict) -> list[str]:
    agreement, (one, other) = comparison["agreement"], comparison["deployments"]
    lines = []
    if agreement["prompts"]:
        lines.append(
            f"{agreement['same']} of {agreement['prompts']} answers are the same to the letter; their words are "
            f"{agreement['similarity']:.0%} alike on average."
        )
    if (one["model"], one["commit"]) != (other["model"], other["commit"]):
        lines.append("They serve different files: weights, quantisation or revision, not only the engine, make answers differ.")
    return lines
