# SPDX-License-Identifier: GPL-3.0-or-later
"""What the smoke test asks of which deployment, and what it takes for an answer."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ansible_collections.selfhosted.llm.plugins.action import smoke
from ansible_collections.selfhosted.llm.plugins.module_utils.openai import Answer, EndpointError

ANSWER = Answer("Hello", 0.5, 5.0, first_token=0.1)


class Endpoint:
    """Answers all questions, whoever asks; ``refuses`` is the status of its refusal of a wrong key."""

    model = "alice-chat"

    def __init__(self, refuses: int | None = None, serves: str = "alice-chat"):
        self.refuses = refuses
        self.serves = serves
        self.key = "the-right-key"

    def ask(self, path: str, stream: bool) -> Answer:
        if self.refuses and self.key != "the-right-key":
            raise EndpointError(f"it answered {path} with HTTP {self.refuses}", self.refuses)
        return ANSWER._replace(first_token=0.1 if stream else None)

    def models(self) -> list[str]:
        return [self.serves]


def deployment(engine: str, endpoint: Endpoint | None = None, **facts) -> SimpleNamespace:
    standard = {"key": "the-right-key", "embeds": False, "endpoint": lambda: endpoint or Endpoint(401)}
    return SimpleNamespace(engine=engine, **standard | facts)


def results(deployment: SimpleNamespace) -> dict[tuple[str, str], str]:
    rows = [smoke._row(question, deployment) for question in smoke._questions(deployment)]
    return {(row["route"], row["how"]): row["result"] for row in rows}


@pytest.mark.parametrize(
    ("engine", "native"),
    [
        ("llama_cpp", {("/completion", "at once"), ("/completion", "streamed"), ("/completion", "with a wrong key")}),
        (
            "tgi",
            {("/generate", "at once"), ("/generate", "with a wrong key")}
            | {("/generate_stream", "streamed"), ("/generate_stream", "with a wrong key")},
        ),
        ("vllm", set()),
    ],
)
def test_each_engine_is_asked_on_openais_routes_and_its_own(engine, native):
    asked = set(results(deployment(engine)))
    assert {pair for pair in asked if not pair[0].startswith("/v1/")} == native
    for route in ("/v1/chat/completions", "/v1/completions"):
        assert {(route, "at once"), (route, "streamed"), (route, "with a wrong key")} <= asked


def test_an_embedding_model_is_asked_for_embeddings_alone():
    questions = smoke._questions(deployment("llama_cpp", embeds=True))
    assert [(question.route, question.how) for question in questions] == [
        ("/v1/models", "at once"), ("/v1/embeddings", "at once"), ("/v1/embeddings", "with a wrong key")
    ]  # fmt: skip


def test_without_a_key_none_is_tried():
    assert not [how for _route, how in results(deployment("vllm", key=None)) if how == "with a wrong key"]


@pytest.mark.parametrize(
    ("refuses", "result"),
    [(401, "refused"), (403, "refused"), (500, "it answered /v1/completions with HTTP 500"), (None, "it answers whoever asks")],
)
def test_a_wrong_key_must_be_refused(refuses, result):
    assert results(deployment("vllm", Endpoint(refuses)))[("/v1/completions", "with a wrong key")] == result


def test_the_models_name_is_the_deployments():
    assert results(deployment("vllm"))[(smoke.MODELS, "at once")] == "ok"
    assert results(deployment("vllm", Endpoint(401, "org/chat")))[(smoke.MODELS, "at once")] == "it serves org/chat"


def test_a_row_tells_how_fast():
    row = smoke._row(smoke.Question("/v1/completions", "streamed", lambda _endpoint: ANSWER), deployment("vllm"))
    assert (row["first_token"], row["tokens_per_second"]) == ("0.10 s", "5.0")
