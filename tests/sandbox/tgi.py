#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-in for Hugging Face's text-generation-inference: checks its start as the table of TGI says, and makes answers up.

It loads no weights, uses no GPU and generates nothing. It refuses options and environment variables that TGI does not
know, and what would not work in an offline pod that is not root.
"""
from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping

import engine_standin
from engine_metrics import Metrics
from engine_standin import Failed, Refused, Request, Settings, number
from engines.tgi import CONTRACT

QUANTIZE = {"awq", "compressed-tensors", "eetq", "exl2", "gptq", "marlin", "bitsandbytes", "bitsandbytes-nf4",
            "bitsandbytes-fp4", "fp8"}
GAUGES = frozenset({"queue_size", "batch_current_size", "batch_current_max_tokens", "batch_max_total_tokens"})
CONCURRENT = 128  # requests at once, by TGI's default


def settings(argv: list[str], environ: Mapping[str, str]) -> Settings:
    """What TGI would start as; Refused where it would download, leak a token, or fail."""
    engine_standin.check_environment(CONTRACT, environ)
    loose, given = engine_standin.arguments(CONTRACT, argv)
    if loose:
        raise Refused(f"error: unexpected argument {loose[0]!r} found.")
    values = {name: environ[name] for name in CONTRACT.environment & environ.keys()}
    values |= {flag.lstrip("-").upper().replace("-", "_"): value[0] if value else "true" for flag, value in given.items()}
    engine_standin.check_model(values.get("MODEL_ID", "bigscience/bloom-560m"))
    if values.get("QUANTIZE", "fp8") not in QUANTIZE:
        raise Refused(f"QUANTIZE {values['QUANTIZE']!r} is not one of {', '.join(sorted(QUANTIZE))}.")
    if values.get("USAGE_STATS") != "off":
        raise Refused("USAGE_STATS is not off: the server would report to its makers.")
    number("CUDA_MEMORY_FRACTION", values.get("CUDA_MEMORY_FRACTION", "1"), 0.01, 1)
    number("NUM_SHARD", values.get("NUM_SHARD", "1"), 1, 8)
    number("GRACEFUL_TERMINATION_TIMEOUT", values.get("GRACEFUL_TERMINATION_TIMEOUT", "90"), 0, 86400)
    total = int(number("MAX_TOTAL_TOKENS", values.get("MAX_TOTAL_TOKENS", "4096"), 2, 1 << 24))
    number("MAX_INPUT_TOKENS", values.get("MAX_INPUT_TOKENS", str(total - 1)), 1, total - 1)
    port = int(number("PORT", values.get("PORT", "80"), 1025, 65535))  # a lower one is for root alone
    return Settings(values["MODEL_ID"], port, total, values.get("API_KEY", ""))


def metrics(started: Settings) -> Metrics:
    """TGI's: each comes with its first value. Bounds as router/src/server.rs has them; what has none there is a summary."""
    durations = [0.0001 * 1.5**power for power in range(1, 36)]
    hundredths = {"request_input_length": started.context - 1, "request_generated_tokens": started.context,
                  "request_max_new_tokens": started.context}
    buckets = {name: [most / 100 * part for part in range(1, 101)] for name, most in hundredths.items()}
    buckets |= {name: durations for name in (name.removeprefix("tgi_") for name in CONTRACT.metrics) if name.endswith("duration")}
    buckets |= {"batch_next_size": range(1, 1025), "request_skipped_tokens": ()}
    found = Metrics(CONTRACT.metrics, "tgi_", GAUGES, buckets, {}, created=False)
    found.add(batch_max_total_tokens=started.context, queue_size=0)
    return found


class Handler(engine_standin.Handler):
    """TGI's routes. It takes any model's name for that of an adapter, and repeats it in the answer to a chat."""
    contract = CONTRACT
    running = 0
    GET = engine_standin.Handler.GET | {"/info": "get_info", "/": "get_nothing"}
    POST = engine_standin.Handler.POST | {"/generate": "post_generate", "/generate_stream": "post_generate_stream"}

    def is_key(self, given: str) -> bool:
        return super().is_key(given) or given.lower() == f"bearer {self.settings.key}".lower()

    def unauthorized(self) -> None:
        self.answer(401, "", "text/plain")

    def failed(self, status: int, kind: str, text: str) -> Failed:
        """A failure, counted under its kind."""
        self.metrics.add({"err": kind}, request_failure=1)
        return Failed(status, {"error": text, "error_type": kind})

    def too_long(self, prompt: int, wanted: int) -> Failed:
        return self.failed(422, "validation", "Input validation error: `inputs` tokens + `max_new_tokens` must be <= "
                           f"{self.settings.context}. Given: {prompt} `inputs` tokens and {wanted} `max_new_tokens`")

    def broken(self) -> Failed:
        self.metrics.add({"method": "prefill"}, batch_inference_count=1, batch_inference_failure=1)
        return self.failed(424, "generation", "Request failed during generation: the stand-in was told to fail")

    def understood(self, body: dict, prompt: str, wanted: int | None) -> Request:
        self.metrics.add(request_count=1)
        if self.running >= CONCURRENT:
            raise self.failed(429, "overloaded", "Model is overloaded")
        return super().understood(body, prompt, wanted)

    def named(self, body: dict, chat: bool) -> str:
        return body["model"] if chat and body.get("model", "tgi") != "tgi" else self.settings.model

    def began(self, request: Request) -> None:
        type(self).running += 1
        words = len(request.words)
        self.metrics.add(batch_current_size=1, batch_current_max_tokens=request.prompt + words, batch_next_size=1,
                         request_input_length=request.prompt, request_max_new_tokens=words)

    def ended(self, request: Request, seconds: float, finish: str) -> None:
        type(self).running -= 1
        made = len(request.words)
        self.metrics.add(batch_current_size=-1, batch_current_max_tokens=-request.prompt - made)
        if finish == "abort":
            self.metrics.add({"err": "dropped"}, request_failure=1)
            return
        for place in range(made):
            self.metrics.add({"method": "decode" if place else "prefill"}, batch_inference_count=1, batch_inference_success=1,
                             batch_inference_duration=seconds / made, batch_forward_duration=seconds / made,
                             batch_decode_duration=0, batch_filter_duration=0)
        self.metrics.add(request_success=1, request_duration=seconds, request_inference_duration=seconds,
                         request_queue_duration=0, request_validation_duration=0, request_skipped_tokens=0,
                         request_mean_time_per_token_duration=seconds / made, request_generated_tokens=made)

    def get_info(self) -> None:
        self.answer(200, {"model_id": self.settings.model, "model_sha": None, "max_concurrent_requests": 128,
                          "max_input_tokens": self.settings.context - 1, "max_total_tokens": self.settings.context,
                          "router": "sandbox stand-in", "version": CONTRACT.version})

    def native(self) -> Request:
        body = json.loads(self.data)
        return self.understood(body, body["inputs"], (body.get("parameters") or {}).get("max_new_tokens"))

    def post_generate(self) -> None:
        request = self.native()
        text = "".join(self.generate(request))
        details = {"finish_reason": self.reason(request), "generated_tokens": len(request.words), "seed": None,
                   "prefill": [], "tokens": []}
        wanted = (request.body.get("parameters") or {}).get("details")
        self.answer(200, {"generated_text": text} | ({"details": details} if wanted else {}))

    def post_generate_stream(self) -> None:
        self.stream(self.native_events(self.native()))

    def native_events(self, request: Request) -> Iterator[dict]:
        text = ""
        for place, word in enumerate(self.generate(request), 1):
            text, last = text + word, place == len(request.words)
            details = {"finish_reason": self.reason(request), "generated_tokens": place, "seed": None,
                       "input_length": request.prompt}
            yield {"index": place, "token": {"id": place, "text": word, "logprob": 0.0, "special": False},
                   "generated_text": text if last else None, "details": details if last else None}

    @staticmethod
    def reason(request: Request) -> str:
        """The reason why it ended, in TGI's own words."""
        return "eos_token" if request.finish == "stop" else request.finish


def main() -> None:
    print("Stand-in for text-generation-inference: it makes its answers up.", flush=True)
    try:
        Handler.settings = settings(sys.argv[1:], os.environ)
    except Refused as reason:
        sys.exit(str(reason))
    Handler.metrics = metrics(Handler.settings)
    # HOSTNAME is also what Kubernetes sets to the pod's name: TGI binds it, this server binds all addresses.
    engine_standin.serve(Handler)


if __name__ == "__main__":
    main()
