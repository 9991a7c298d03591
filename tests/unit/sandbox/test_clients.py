# SPDX-License-Identifier: GPL-3.0-or-later
"""The client of the engines' API and the stand-ins for TGI and vLLM, written apart from each other, agree on every route."""

from __future__ import annotations

import http.server
import socket
import threading
from types import SimpleNamespace

import pytest

from ansible_collections.selfhosted.llm.plugins.action import smoke
from ansible_collections.selfhosted.llm.plugins.module_utils.openai import Endpoint

from .test_engine_standin import ARGUMENTS, TGI, VLLM, model, standin  # noqa: F401


@pytest.mark.parametrize("engine", ["tgi", "vllm"])
def test_every_question_of_the_smoke_test_is_answered(standin, engine):  # noqa: F811
    module = standin(engine)
    handler = module.Handler
    handler.settings = module.settings(ARGUMENTS if engine == "vllm" else [], VLLM if engine == "vllm" else TGI)
    handler.metrics = module.metrics(handler.settings)
    handler.log_message = lambda *_: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()

    def endpoint() -> Endpoint:
        return Endpoint(lambda: socket.create_connection(server.server_address), "alice-chat", "Key")

    deployment = SimpleNamespace(engine=engine, embeds=False, key="Key", endpoint=endpoint)
    try:
        rows = [smoke._row(question, deployment) for question in smoke._questions(deployment)]
        answer = endpoint().ask("/v1/chat/completions", stream=True)
    finally:
        server.shutdown()
        server.server_close()
    assert {row["result"] for row in rows} == {"ok", "refused"}, rows
    assert answer.tokens > 1 and answer.prompt_tokens and answer.first_token <= answer.seconds
