# SPDX-License-Identifier: GPL-3.0-or-later
"""How a comparison of two deployments is summed up."""

from __future__ import annotations

from ansible_collections.selfhosted.llm.plugins.action import compare
from ansible_collections.selfhosted.llm.plugins.module_utils.openai import Answer, EndpointError

FACTS = {"engine": "vllm", "model": "org/chat", "commit": "1ae5b19", "share": "1 card"}


class Endpoint:
    """Answers with the given texts in turn; None is a failure."""

    def __init__(self, model: str, *texts: str | None):
        self.model = model
        self.texts = list(texts)

    def ask(self, _path: str, _prompt: str, tokens: int, stream: bool) -> Answer:
        assert stream
        text = self.texts.pop(0)
        if text is None:
            raise EndpointError("it answered with HTTP 500", 500)
        return Answer(text, 2.0, 40.0, tokens, first_token=0.5)


def test_agreement_and_speed():
    endpoints = [Endpoint("a", "one two three four", "yes", "yes"), Endpoint("b", "one two three five", "yes", None)]
    asked = [compare._ask(endpoints, prompt, 60) for prompt in ("p", "q", "r")]
    assert [one["similarity"] for one in asked] == [0.75, 1.0, None]
    assert asked[2]["answers"][1] == {"failure": "b: it answered with HTTP 500"}
    comparison = {
        "deployments": [FACTS | {"deployment": "a"}, FACTS | {"deployment": "b", "commit": "other"}],
        "agreement": compare._agreement(asked),
        "prompts": asked,
    }
    assert comparison["agreement"] == {"prompts": 2, "same": 1, "similarity": 0.875}
    assert [row["answers"] for row in compare._rows(comparison)] == ["3 of 3", "2 of 3"]
    assert compare._rows(comparison)[0].items() >= {"first token": "0.50 s", "whole answer": "2.00 s", "tokens/s": "40.0"}.items()
    same, files = compare._notes(comparison)
    assert same == "1 of 2 answers are the same to the letter; their words are 88% alike on average."
    assert files.startswith("They serve different files")


def test_nothing_in_common():
    asked = [compare._ask([Endpoint("a", None), Endpoint("b", "yes")], "p", 60)]
    comparison = {"deployments": [FACTS | {"deployment": name} for name in "ab"], "agreement": compare._agreement(asked), "prompts": asked}
    assert compare._notes(comparison) == []
    assert compare._rows(comparison)[0]["tokens/s"] == "-"
