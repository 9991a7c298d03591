# SPDX-License-Identifier: GPL-3.0-or-later
"""Record what llama-server logs and answers on a GPU: python tests/recorded/llama_cpp/record.py --server PATH --out DIR.

Writes a log for each of RUNS, and ends.json, routes.json and metrics.txt. The model and the keys lie where arguments.json says.
"""
from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "fit"))
from co_tenants import ask, ballast, changed, ready, start, stop  # noqa: E402

PORT, KEY_FILE = 8080, "--api-key-file"
PROMPT = {"prompt": "Say hello.", "n_predict": 16, "temperature": 0}
# Name: other values of options, the environment, MiB of the GPU that are left before the start (0: all).
RUNS = {
    "default_verbosity": ({"--verbosity": 3}, {}, 0),
    "full": ({}, {}, 0),
    "partial": ({"--n-gpu-layers": 10}, {}, 0),
    "none": ({"--n-gpu-layers": 0}, {}, 0),
    "no_device": ({}, {"CUDA_VISIBLE_DEVICES": ""}, 0),
    "out_of_memory_weights": ({}, {}, 3000),
    "out_of_memory": ({}, {}, 6000),  # room for the weights, not for the cache
    "out_of_memory_computing": ({}, {}, 0),  # another process takes all that is left once the server is ready
}
ROUTES = ("GET /health", "GET /v1/health", "GET /models", "GET /v1/models", "GET /metrics", "GET /props", "GET /slots", "GET /",
          "POST /completion", "POST /v1/completions", "POST /v1/chat/completions", "POST /v1/messages", "POST /v1/responses",
          "POST /v1/embeddings", "POST /v1/rerank", "POST /infill", "POST /tokenize", "POST /detokenize", "POST /apply-template",
          "POST /props", "POST /slots/0?action=erase", "GET /lora-adapters")
BODY = {**PROMPT, "content": "Hello", "input": "Hello", "max_tokens": 8, "tokens": [300],
        "messages": [{"role": "user", "content": "Hello"}], "input_prefix": "a", "input_suffix": "b", "query": "a", "documents": ["b"]}
# What the model's file says, which tells nothing of where it went; and where it was built.
LEFT_OUT = re.compile(r"^.* (print_info: |llama_model_loader: - ).*\n", re.M)
BUILT = re.compile(r"/\S+(?=/ggml/src/)")


def call(route: str, key: str = "") -> tuple[int, str]:
    method, path = route.split()
    return ask(PORT, path, BODY if method == "POST" else None, key)


def run(name: str, server: Path, arguments: list[str], key: str, log: Path) -> dict[str, object]:
    """One of RUNS up to the first answer; how it went."""
    other, environment, leave = RUNS[name]
    began = time.monotonic()
    with ballast(leave) if leave else contextlib.nullcontext():
        process = start(server, changed(arguments, other), log, **environment)
        end: dict[str, object] = {}
        if ready(process, PORT):
            end["ready_seconds"] = round(time.monotonic() - began, 1)
            computing = name == "out_of_memory_computing"
            with ballast(0) if computing else contextlib.nullcontext():
                end["answer"], text = ask(PORT, "/completion", {**PROMPT, "prompt": [300] * 4096} if computing else PROMPT, key)
            if end["answer"] == 200:
                end["tokens_per_second"] = round(json.loads(text)["timings"]["predicted_per_second"], 1)
            else:
                process.wait(30)
        alone = process.poll() is not None
        return end | {"ended_by_itself": alone, "status": stop(process)}


def routes(server: Path, arguments: list[str], key: str, log: Path) -> tuple[dict[str, dict], str]:
    """Status and text of all routes, by what was the case; and what /metrics says after them."""
    process = start(server, arguments, log)
    while not call("GET /health")[0]:
        time.sleep(0.002)
    some = [route for route in ROUTES if route.startswith("GET")]
    answers = {"loading, without a key": {route: call(route) for route in some},
               "loading, with the key": {route: call(route, key) for route in some}}
    ready(process, PORT)
    for name, given in (("without a key", ""), ("with a wrong key", "sk-wrong"), ("with the key", key)):
        answers[name] = {route: call(route, given) for route in ROUTES}
    metrics = call("GET /metrics", key)[1]
    stop(process)
    return answers, metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", type=Path, required=True, help="llama-server")
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    arguments = json.loads((HERE / "arguments.json").read_text())
    key = Path(arguments[arguments.index(KEY_FILE) + 1]).read_text().split()[0]

    def save(name: str, what: object) -> None:
        (options.out / name).write_text(json.dumps(what, indent=1) + "\n")

    with tempfile.TemporaryDirectory() as directory:
        log, ends = Path(directory) / "log", {}
        for name in RUNS:
            ends[name] = run(name, options.server, arguments, key, log)
            (options.out / f"{name}.log").write_text(BUILT.sub("/app", LEFT_OUT.sub("", log.read_text(errors="replace"))))
            print(name, ends[name], flush=True)
        answers, metrics = routes(options.server, arguments, key, log)
    save("ends.json", ends)
    save("routes.json", answers)
    (options.out / "metrics.txt").write_text(metrics)


if __name__ == "__main__":
    main()
