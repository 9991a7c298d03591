#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-in for Hugging Face's text-generation-inference: checks its start and answers /health, /info and /metrics.

It loads no weights, uses no GPU and generates nothing: every inference route answers 501. It accepts exactly the flags
and environment variables that the collection passes to TGI 3.3, and refuses what would not work in an offline pod.
"""
from __future__ import annotations

import http.server
import json
import os
import signal
import sys
from pathlib import Path

# TGI's flag -> its environment twin and its type here. None: accepted without a check.
FLAGS = {
    "--model-id": ("MODEL_ID", str), "--revision": ("REVISION", str), "--quantize": ("QUANTIZE", str),
    "--num-shard": ("NUM_SHARD", int), "--max-input-tokens": ("MAX_INPUT_TOKENS", int),
    "--max-total-tokens": ("MAX_TOTAL_TOKENS", int), "--max-batch-prefill-tokens": ("MAX_BATCH_PREFILL_TOKENS", int),
    "--cuda-memory-fraction": ("CUDA_MEMORY_FRACTION", float), "--api-key": ("API_KEY", str),
    "--usage-stats": ("USAGE_STATS", str), "--hostname": ("HOSTNAME", str), "--port": ("PORT", int),
}
QUANTIZE = {"awq", "compressed-tensors", "eetq", "exl2", "gptq", "marlin", "bitsandbytes", "bitsandbytes-nf4",
            "bitsandbytes-fp4", "fp8"}
TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
METRICS = """# HELP tgi_queue_size Requests waiting (the stand-in serves none).
# TYPE tgi_queue_size gauge
tgi_queue_size 0
# HELP tgi_batch_current_size Requests in the running batch (the stand-in serves none).
# TYPE tgi_batch_current_size gauge
tgi_batch_current_size 0
"""


class Refused(Exception):
    """Why the server does not start, as a sentence."""


def settings(argv: list[str], environ: dict[str, str]) -> dict[str, object]:
    """Environment variable name -> value of each flag or variable given; Refused when one makes no sense."""
    given = {name: environ[name] for name, _ in FLAGS.values() if name in environ}
    rest = list(argv)
    while rest:
        flag, separator, value = rest.pop(0).partition("=")
        if flag not in FLAGS:
            raise Refused(f"Unknown argument {flag}: this stand-in for text-generation-inference takes only "
                          f"{', '.join(FLAGS)}.")
        if not separator and not rest:
            raise Refused(f"The argument {flag} has no value.")
        given[FLAGS[flag][0]] = value if separator else rest.pop(0)
    result: dict[str, object] = {}
    for flag, (name, kind) in FLAGS.items():
        if name in given:
            try:
                result[name] = kind(given[name])
            except ValueError as error:
                raise Refused(f"{name} ({flag}) is not a {kind.__name__}.") from error
    return result


def check(values: dict[str, object], environ: dict[str, str]) -> None:
    """Refused with a sentence when a real TGI would download, leak a token or fail."""
    for name in TOKENS:
        if name in environ:
            raise Refused(f"{name} is set: the server needs no Hugging Face token, only the download does.")
    if environ.get("HF_HUB_OFFLINE") != "1":
        raise Refused("HF_HUB_OFFLINE is not 1: the server would fetch from the Hugging Face hub.")
    model = Path(str(values.get("MODEL_ID", "")))
    if not model.is_absolute() or not (model / "config.json").is_file():
        raise Refused(f"MODEL_ID {str(model)!r} is not a local directory with a config.json.")
    if values.get("QUANTIZE", "fp8") not in QUANTIZE:
        raise Refused(f"QUANTIZE {values['QUANTIZE']!r} is not one of {', '.join(sorted(QUANTIZE))}.")
    if not 0 < float(str(values.get("CUDA_MEMORY_FRACTION", 1.0))) <= 1:
        raise Refused(f"CUDA_MEMORY_FRACTION {values['CUDA_MEMORY_FRACTION']} is not above 0 and at most 1.")
    longest, total = values.get("MAX_INPUT_TOKENS"), values.get("MAX_TOTAL_TOKENS")
    if isinstance(longest, int) and isinstance(total, int) and longest >= total:
        raise Refused(f"MAX_INPUT_TOKENS {longest} must be below MAX_TOTAL_TOKENS {total}.")


class Handler(http.server.BaseHTTPRequestHandler):
    """The open routes of TGI; all others say that this is a stand-in."""
    info: dict[str, object] = {}
    protocol_version = "HTTP/1.1"

    def answer(self, status: int, body: str, kind: str = "application/json") -> None:
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        if self.path in ("/health", "/ping"):
            self.answer(200, "", "text/plain")
        elif self.path == "/info":
            self.answer(200, json.dumps(self.info))
        elif self.path == "/metrics":
            self.answer(200, METRICS, "text/plain; version=0.0.4")
        else:
            self.refuse()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.refuse()

    def refuse(self) -> None:
        self.answer(501, json.dumps({"error": "stand-in for text-generation-inference: it answers only /health, "
                                              "/info and /metrics", "error_type": "stand-in"}))

    def log_message(self, format: str, *args: object) -> None:
        if self.path != "/health":
            print(format % args, flush=True)


def main() -> None:
    print("Stand-in for text-generation-inference: it generates nothing.", flush=True)
    try:
        values = settings(sys.argv[1:], dict(os.environ))
        check(values, dict(os.environ))
    except Refused as reason:
        sys.exit(str(reason))
    Handler.info = {"model_id": values["MODEL_ID"], "model_sha": values.get("REVISION"), "version": "stand-in",
                    "max_input_tokens": values.get("MAX_INPUT_TOKENS"),
                    "max_total_tokens": values.get("MAX_TOTAL_TOKENS"), "router": "sandbox stand-in"}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # HOSTNAME is also what Kubernetes sets to the pod's name: TGI binds it, this server binds all addresses.
    server = http.server.ThreadingHTTPServer(("0.0.0.0", int(str(values.get("PORT", 3000)))), Handler)
    server.serve_forever()


if __name__ == "__main__":
    main()
