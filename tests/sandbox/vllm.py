#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-in for `vllm serve`: checks its start as the table of vLLM says, and makes answers up.

It loads no weights, uses no GPU and generates nothing. It refuses options and environment variables that vLLM does not
know, and what would not work in an offline pod that is not root.
"""
from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import engine_standin
from engine_standin import Failed, Metrics, Refused, Request, Settings, number
from engines.vllm import CONTRACT

HISTOGRAMS = re.compile(r"vllm:(\w+_seconds|iteration_tokens_total|request_(?!success)\w+)")


def settings(argv: list[str], environ: Mapping[str, str]) -> Settings:
    """What vLLM would start as; Refused where it would download, leak a token or a key, or fail."""
    engine_standin.check_environment(CONTRACT, environ)
    loose, given = engine_standin.arguments(CONTRACT, argv)
    values = {name: value[0] if value else "" for name, value in given.items()}
    if len(loose) != 1:
        raise Refused(f"`vllm serve` takes one model, not {loose}.")
    engine_standin.check_model(loose[0])
    if "--api-key" in given:
        raise Refused("--api-key shows the key to all on this machine: it belongs into VLLM_API_KEY.")
    if environ.get("VLLM_NO_USAGE_STATS") != "1" and environ.get("DO_NOT_TRACK") != "1":
        raise Refused("VLLM_NO_USAGE_STATS is not 1: the server would report to its makers.")
    number("--gpu-memory-utilization", values.get("--gpu-memory-utilization", "0.92"), 0.01, 1)
    number("--tensor-parallel-size", values.get("--tensor-parallel-size", "1"), 1, 8)
    number("--max-num-seqs", values.get("--max-num-seqs", "256"), 1, 1 << 16)
    number("--shutdown-timeout", values.get("--shutdown-timeout", "0"), 0, 86400)
    context = int(number("--max-model-len", values.get("--max-model-len", "4096"), 1, 1 << 24))
    longest = json.loads(Path(loose[0], "config.json").read_text()).get("max_position_embeddings", context)
    if context > longest and environ.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN") != "1":
        raise Refused(f"User-specified max_model_len ({context}) is greater than the derived max_model_len "
                      f"(max_position_embeddings={longest}).")
    port = int(number("--port", values.get("--port", "8000"), 1025, 65535))  # a lower one is for root alone
    return Settings(values.get("--served-model-name", loose[0]), port, context, environ.get("VLLM_API_KEY", ""))


def metrics(started: Settings) -> Metrics:
    """vLLM's, all there from the start."""
    return Metrics(CONTRACT.metrics, HISTOGRAMS, f'model_name="{started.model}",engine="0"', at_once=True)


class Handler(engine_standin.Handler):
    """vLLM's routes; those below /v1 need the key."""
    contract = CONTRACT
    GET = engine_standin.Handler.GET | {"/version": "get_version", "/load": "get_load"}

    def needs_key(self) -> bool:
        return self.path.startswith("/v1")

    def is_key(self, given: str) -> bool:
        scheme, _space, key = given.partition(" ")
        return scheme.lower() == "bearer" and key == self.settings.key

    def unauthorized(self) -> None:
        self.answer(401, {"error": "Unauthorized"})

    def too_long(self, prompt: int, wanted: int) -> Failed:
        text = (f"This model's maximum context length is {self.settings.context} tokens. However, you requested {wanted} "
                f"output tokens and your prompt contains {prompt} input tokens.")
        return self.failed(400, text, "BadRequestError")

    def named(self, body: dict, chat: bool) -> str:
        if body.get("model", self.settings.model) != self.settings.model:
            raise self.failed(404, f"The model `{body['model']}` does not exist.", "NotFoundError")
        return self.settings.model

    @staticmethod
    def failed(status: int, text: str, kind: str) -> Failed:
        return Failed(status, {"error": {"message": text, "type": kind, "param": None, "code": status}})

    def began(self, request: Request) -> None:
        self.metrics.add(num_requests_running=1, prompt_tokens_total=request.prompt, request_prompt_tokens=request.prompt,
                         time_to_first_token_seconds=engine_standin.TOKEN_SECONDS, request_queue_time_seconds=0)

    def ended(self, request: Request, seconds: float) -> None:
        made = len(request.words)
        self.metrics.add(num_requests_running=-1, generation_tokens_total=made, request_generation_tokens=made,
                         request_success_total=1, e2e_request_latency_seconds=seconds, request_inference_time_seconds=seconds,
                         request_time_per_output_token_seconds=seconds / made, inter_token_latency_seconds=seconds / made)

    def get_version(self) -> None:
        self.answer(200, {"version": CONTRACT.version.lstrip("v")})

    def get_load(self) -> None:
        self.answer(200, {"server_load": 0})


def main() -> None:
    print("Stand-in for vLLM: it makes its answers up.", flush=True)
    try:
        Handler.settings = settings(sys.argv[2:], os.environ)  # the first argument is the command `serve`
    except Refused as reason:
        sys.exit(str(reason))
    Handler.metrics = metrics(Handler.settings)
    engine_standin.serve(Handler)


if __name__ == "__main__":
    main()
