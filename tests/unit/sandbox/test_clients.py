# SPDX-License-Identifier: GPL-3.0-or-later
"""The client of the engines' API and the stand-ins for TGI and vLLM, written apart from each other, agree on every route."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest

from ansible_collections.selfhosted.llm.plugins.action import smoke
from ansible_collections.selfhosted.llm.plugins.module_utils.openai import Endpoint

from .test_engine_standin import model, serve, standin  # noqa: F401


@pytest.mark.parametrize("engine", ["tgi", "vllm"])
def test_every_question_of_the_smoke_test_is_answered(serve, engine):  # noqa: F811
    address = serve(engine)

    def endpoint() -> Endpoint:
        return Endpoint(lambda: socket.create_connection(address), "alice-chat", "Key")

    deployment = SimpleNamespace(engine=engine, embeds=False, key="Key", endpoint=endpoint)
    rows = [smoke._row(question, deployment) for question in smoke._questions(deployment)]
    answer = endpoint().ask("/v1/chat/completions", stream=True)
    assert {row["result"] for row in rows} == {"ok", "refused"}, rows
    assert answer.tokens > 1 and answer.prompt_tokens and answer.first_token <= answer.seconds
