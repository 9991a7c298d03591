#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-in for Hugging Face's text-generation-inference: checks its start as the table of TGI says, and makes answers up.

It loads no weights, uses no GPU and generates nothing. It refuses options and environment variables that TGI does not
know, and what would not work in an offline pod that is not root.
"""
from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping

import engine_standin
from engine_standin import Failed, Metrics, Refused, Request, Settings, number
from engines.tgi import CONTRACT

QUANTIZE = {"awq", "compressed-tensors", "eetq", "exl2", "gptq", "marlin", "bitsandbytes", "bitsandbytes-nf4",
            "bitsandbytes-fp4", "fp8"}
HISTOGRAMS = re.compile(r"tgi_(batch|request)_(\w+_)?duration|tgi_request_(input_length|\w+_tokens)|tgi_batch_next_size")


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
    """TGI's: each comes with its first value."""
    found = Metrics(CONTRACT.metrics, HISTOGRAMS, "", at_once=False)
    found.add(tgi_batch_max_total_tokens=started.context, tgi_queue_size=0)
    return found


class Handler(engine_standin.Handler):
    """TGI's routes. It takes any model's name for that of an adapter, and repeats it in the answer to a chat."""
    contract = CONTRACT
    GET = engine_standin.Handler.GET | {"/info": "get_info", "/": "get_nothing"}
    POST = engine_standin.Handler.POST | {"/generate": "post_generate", "/generate_stream": "post_generate_stream"}

    def is_key(self, given: str) -> bool:
        return super().is_key(given) or given.lower() == f"bearer {self.settings.key}".lower()

    def unauthorized(self) -> None:
        self.answer(401, "", "text/plain")

    def too_long(self, prompt: int, wanted: int) -> Failed:
        self.metrics.add(tgi_request_failure=1)
        text = (f"Input validation error: `inputs` tokens + `max_new_tokens` must be <= {self.settings.context}. "
                f"Given: {prompt} `inputs` tokens and {wanted} `max_new_tokens`")
        return Failed(422, {"error": text, "error_type": "validation"})

    def named(self, body: dict, chat: bool) -> str:
        return body["model"] if chat and body.get("model", "tgi") != "tgi" else self.settings.model

    def began(self, request: Request) -> None:
        self.metrics.add(tgi_request_count=1, tgi_queue_size=0, tgi_batch_current_size=1, tgi_batch_inference_count=1,
                         tgi_batch_current_max_tokens=request.prompt + len(request.words), tgi_batch_next_size=1,
                         tgi_request_input_length=request.prompt, tgi_request_max_new_tokens=len(request.words))

    def ended(self, request: Request, seconds: float) -> None:
        made = len(request.words)
        self.metrics.add(tgi_request_success=1, tgi_request_duration=seconds, tgi_request_inference_duration=seconds,
                         tgi_request_queue_duration=0, tgi_request_validation_duration=0, tgi_request_skipped_tokens=0,
                         tgi_request_mean_time_per_token_duration=seconds / made, tgi_request_generated_tokens=made,
                         tgi_batch_current_size=-1, tgi_batch_current_max_tokens=-request.prompt - made,
                         tgi_batch_inference_success=1, tgi_batch_inference_duration=seconds,
                         tgi_batch_forward_duration=seconds, tgi_batch_decode_duration=0, tgi_batch_filter_duration=0)

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
