#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-in for `vllm serve`: checks its start as the table of vLLM says, and makes answers up.

It loads no weights, uses no GPU and generates nothing. It refuses options and environment variables that vLLM does not
know, and what would not work in an offline pod that is not root.
"""
from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import engine_standin
from engine_metrics import Metrics
from engine_standin import Failed, Refused, Request, Settings, number
from engines.vllm import CONTRACT

# Bounds of its histograms, from vllm/v1/metrics/buckets.py of 0.31.0; those of tokens end with the context.
LATENCY = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)
TOKEN_LATENCY = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
BUCKETS = {
    "time_to_first_token_seconds": (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40,
                                    80, 160, 640, 2560),
    "inter_token_latency_seconds": TOKEN_LATENCY, "request_time_per_output_token_seconds": TOKEN_LATENCY,
    "e2e_request_latency_seconds": LATENCY,
    **{f"request_{phase}_time_seconds": LATENCY for phase in ("queue", "inference", "prefill", "decode")},
    "iteration_tokens_total": [2**power for power in (0, *range(3, 15))],
    "request_params_n": (1, 2, 5, 10, 20), "request_num_preemptions": (1, 2, 3, 4, 5, 10, 20),
}
OF_TOKENS = ("request_prompt_tokens", "request_generation_tokens", "request_max_num_generation_tokens",
             "request_params_max_tokens", "request_prefill_kv_computed_tokens")
GAUGES = frozenset({"num_requests_running", "num_requests_waiting", "num_requests_waiting_by_reason", "engine_sleep_state",
                    "kv_cache_usage_perc", "cache_config_info"})
# Further labels of some, with all their values.
LABELS = {
    "request_success_total": ("finished_reason", ("stop", "length", "abort", "error", "repetition")),
    "num_requests_waiting_by_reason": ("reason", ("capacity", "deferred")),
    "prompt_tokens_by_source_total": ("source", ("local_compute", "local_cache_hit", "external_kv_transfer")),
    "engine_sleep_state": ("sleep_state", ("awake", "weights_offloaded", "discard_all")),
    "cache_config_info": ("block_size", ("16",)),  # of many
}
BLOCK = 16  # tokens of the KV cache that are found again together
BLOCKS = 4096


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
    tokens = [digit * 10**power for power in range(8) for digit in (1, 2, 5) if digit * 10**power <= started.context]
    found = Metrics(CONTRACT.metrics, "vllm:", GAUGES, BUCKETS | dict.fromkeys(OF_TOKENS, tokens),
                    {"engine": "0", "model_name": started.model}, created=True)
    for name in (name.removeprefix("vllm:") for name in CONTRACT.metrics):
        label, values = LABELS.get(name, ("", ()))
        for value in values:
            found.start(name, **{label: value})
        if not values:
            found.start(name)
    found.add({"sleep_state": "awake"}, engine_sleep_state=1)
    found.add({"block_size": "16"}, cache_config_info=1)
    return found


class Handler(engine_standin.Handler):
    """vLLM's routes; those below /v1 need the key."""
    contract = CONTRACT
    cached: set[tuple[str, ...]] = set()  # starts of prompts, in whole blocks
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

    def broken(self) -> Failed:
        self.metrics.add({"finished_reason": "error"}, request_success_total=1)
        return self.failed(500, "the stand-in was told to fail", "InternalServerError")

    def understood(self, body: dict, prompt: str, wanted: int | None) -> Request:
        request = super().understood(body, prompt, wanted)
        words = prompt.split()
        starts = {tuple(words[:end]) for end in range(BLOCK, len(words), BLOCK)}
        self.hits = BLOCK * len(starts & self.cached)
        self.cached |= starts
        return request

    def began(self, request: Request) -> None:
        self.part = (request.prompt + len(request.words)) / BLOCK / BLOCKS
        self.metrics.add(num_requests_running=1, kv_cache_usage_perc=self.part, prefix_cache_queries_total=request.prompt,
                         prefix_cache_hits_total=self.hits, prompt_tokens_total=request.prompt,
                         prompt_tokens_cached_total=self.hits, time_to_first_token_seconds=engine_standin.TOKEN_SECONDS)
        self.metrics.add({"source": "local_cache_hit"}, prompt_tokens_by_source_total=self.hits)
        self.metrics.add({"source": "local_compute"}, prompt_tokens_by_source_total=request.prompt - self.hits)

    def ended(self, request: Request, seconds: float, finish: str) -> None:
        made = len(request.words)
        first, decode = engine_standin.TOKEN_SECONDS, max(seconds - engine_standin.TOKEN_SECONDS, 0)
        self.metrics.add(num_requests_running=-1, kv_cache_usage_perc=-self.part)
        self.metrics.add({"finished_reason": finish}, request_success_total=1)
        self.metrics.add(generation_tokens_total=made, request_prompt_tokens=request.prompt, request_generation_tokens=made,
                         request_max_num_generation_tokens=made, request_params_n=1, request_num_preemptions=0,
                         request_prefill_kv_computed_tokens=request.prompt - self.hits, e2e_request_latency_seconds=seconds,
                         request_queue_time_seconds=0, request_inference_time_seconds=seconds,
                         request_prefill_time_seconds=first, request_decode_time_seconds=decode,
                         request_time_per_output_token_seconds=decode / max(made - 1, 1),
                         iteration_tokens_total=request.prompt - self.hits + 1)
        if wanted := request.body.get("max_completion_tokens") or request.body.get("max_tokens"):
            self.metrics.add(request_params_max_tokens=wanted)
        for _token in range(made - 1):
            self.metrics.add(inter_token_latency_seconds=decode / (made - 1), iteration_tokens_total=1)

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
