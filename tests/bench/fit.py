# SPDX-License-Identifier: GPL-3.0-or-later
"""How long it takes to say whether many deployments fit, and how near that is to what was measured, beside gguf-parser-go."""
from __future__ import annotations

import hashlib
import itertools
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.selfhosted.llm.plugins.module_utils import headers
from ansible_collections.selfhosted.llm.plugins.module_utils.fit import llama_cpp
from ansible_collections.selfhosted.llm.plugins.module_utils.fit.model import Tensor
from tests.fit.models import MODELS, SHAPES, write
from tests.sandbox import build
from tests.sandbox.progress import output, run
from tests.unit.plugins.module_utils.fit.shapes import CONFIGS, checkpoint, safetensors_header
from tests.unit.plugins.module_utils.fit.test_llama_cpp import FREE, MIB, PLANNED, is_partial, options_of

from . import REPOSITORY, programs

sys.path.append(str(REPOSITORY / "tests/sandbox"))  # where the stand-in is, as when it is started
import hub

DEPLOYMENTS, DELAY = 50, 0.05  # number; seconds before each answer
LIMITS = {f"a hub {DELAY * 1000:.0f} ms away": 5.0, "the cache": 2.0}  # seconds in all, by where headers come from
SHARD = 5_000_000_000  # bytes of a safetensors file at most, as transformers writes them
# What CUDA takes of a card, in bytes, which gguf-parser-go has as an option: its default, and what was measured.
FOOTPRINTS = {"gguf-parser-go": 250 * MIB, "gguf-parser-go, CUDA as measured": llama_cpp.CONTEXT}


class Tree(hub.Tree):
    """Repositories of files that are mostly holes of many GB: these are named by their paths, as hashing them takes minutes."""

    def _file(self, place: Path) -> hub.File:
        name = hashlib.sha256(bytes(place)).hexdigest()
        return hub.File(place, place.stat().st_size, name, name[:40], place.suffix in hub.LFS_SUFFIXES)


def measure() -> dict[str, dict]:
    """Judge the deployments, with nothing in the cache and then from it; return seconds, requests, and how many had a verdict."""
    hub.Handler.log_message = lambda *_: None
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        deployments = _publish(folder)
        server = hub.Hub(("127.0.0.1", 0), folder / "hub")
        server.tree = Tree(folder / "hub")
        server.faults.append({"delay": DELAY})
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            return {source: _judge(folder, deployments, server) for source in LIMITS}
        finally:
            server.shutdown()
            server.server_close()


def _judge(folder: Path, deployments: list[dict], server: hub.Hub) -> dict:
    server.forget()
    log = folder / "log"
    log.unlink(missing_ok=True)
    environment = os.environ | {
        "HOME": str(folder), "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "PYTHONPATH": os.pathsep.join(sys.path),
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
    }
    arguments = {"deployments": deployments, "endpoint": server.url, "cache": str(folder / "cache")}
    command = [sys.executable, "-m", "ansible", "adhoc", "localhost", "-m", "selfhosted.llm.model_fit", "-a", json.dumps(arguments)]
    start = time.perf_counter()
    run(command, log, cwd=REPOSITORY, env=environment)
    seconds = time.perf_counter() - start
    entries = json.loads(log.read_text().partition("SUCCESS => ")[2])["deployments"]
    judged = sum(entry["verdict"] != "unknown" for entry in entries)
    return {"seconds": round(seconds, 3), "judged": judged, "requests": sum(server.calls()["routes"].values())}


def _publish(folder: Path) -> list[dict]:
    """Make a repository for each deployment, every other of them with safetensors; return the deployments."""
    deployments: list[dict] = []
    ggufs, checkpoints = itertools.cycle(_write_ggufs(folder)), itertools.cycle(CONFIGS)
    engines = itertools.cycle(["tgi", "vllm", "llama_cpp"])
    for number in range(DEPLOYMENTS):
        model = f"org/model-{number}"
        place = folder / "hub" / model
        place.mkdir(parents=True)
        if number % 2:
            _write_safetensors(place, next(checkpoints))
            deployments.append({"model": model, "engine": next(engines)})
        else:
            file = next(ggufs)
            (place / file.name).hardlink_to(file)
            deployments.append({"model": f"{model}:{file.stem.rpartition('-')[2]}", "options": {"np": 4}})
    return deployments


def _write_ggufs(folder: Path) -> list[Path]:
    paths = [folder / f"{model.replace(':', '-')}.gguf" for model in MODELS]
    for path, model in zip(paths, MODELS, strict=True):
        name, _, quant = model.partition(":")
        write(path, SHAPES[name], quant)
    return paths


def _write_safetensors(place: Path, name: str) -> None:
    config, tensors = checkpoint(name)
    (place / "config.json").write_bytes(config)
    shards: list[dict] = []
    room = 0
    for tensor, (kind, shape) in tensors.items():
        size = Tensor(tensor, shape, kind).size
        if size > room:
            shards.append({})
            room = SHARD
        shards[-1][tensor] = kind, shape
        room -= size
    for number, shard in enumerate(shards, 1):
        path = place / f"model-{number:05}-of-{len(shards):05}.safetensors"
        header, size = safetensors_header(shard)
        path.write_bytes(header)
        os.truncate(path, size)


def goals(result: dict[str, dict]) -> dict[str, bool]:
    """The goals, and whether they hold."""
    held = {}
    for source, limit in LIMITS.items():
        seconds, judged, requests = (result[source][key] for key in ("seconds", "judged", "requests"))
        text = f"whether {judged} deployments fit, headers from {source}: {seconds:.1f} s, {requests} requests; at most {limit:.0f} s"
        held[text] = seconds <= limit and judged == DEPLOYMENTS
    return held


def compare() -> dict:
    """Estimate every measured row with ours and with gguf-parser-go; return milliseconds of one, and errors in MiB."""
    with build.exclusive(build.CACHE / "lock", "the cache"):
        program = programs.gguf_parser()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        _write_ggufs(Path(name))
        cases = [_case(row, name) for row in PLANNED]
        given = Path(name) / "cases.json"
        given.write_text(json.dumps(cases))
        theirs = json.loads(output([program, given]))
        ours = [_estimate(row, case["path"]) for row, case in zip(PLANNED, cases, strict=True)]
    errors: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row, mine, other in zip(PLANNED, ours, theirs, strict=True):
        gpus, layers = "one GPU" if row["gpus"] == "1" else "two GPUs", "some" if is_partial(row) else "all"
        group = errors.setdefault(f"{gpus}, {layers} layers there", {})
        for gpu, size in enumerate(other["bytes"]):
            measured = float(row[f"gpu{gpu}_long"])
            said = {"selfhosted.llm": mine["bytes"][gpu]} | {name: size + footprint for name, footprint in FOOTPRINTS.items()}
            for name, estimate in said.items():
                group.setdefault(name, []).append((measured, estimate / MIB - measured))
    return {
        "with": programs.GGUF_PARSER.module,
        "milliseconds": {name: round(statistics.median(one["seconds"] for one in all_) * 1000, 1)
                         for name, all_ in (("selfhosted.llm", ours), ("gguf-parser-go", theirs))},
        "errors": {group: {name: _summary(cards) for name, cards in by_name.items()} for group, by_name in errors.items()},
    }


def _case(row: dict, folder: str) -> dict:
    """A measured row as gguf_parser.go takes it, which knows no GPU that is not used."""
    options = options_of(row)
    shares = [1] if options.split_mode == "none" else options.tensor_split or [1] * int(row["gpus"])
    upto = [total / sum(shares) for total in itertools.accumulate(shares)]
    return options._asdict() | {"path": f"{folder}/{row['model']}.gguf", "upto": upto}


def _estimate(row: dict, path: str) -> dict:
    """Ours in the form of theirs."""
    start = time.perf_counter()
    parts = llama_cpp.estimate(headers.read_local(path), options_of(row), (FREE,) * int(row["gpus"]))
    return {"seconds": time.perf_counter() - start, "bytes": [one.total - one.margin for one in parts]}


def _summary(cards: list[tuple[float, float]]) -> dict:
    """Of what was measured on each card and how much more was said, in MiB."""
    return {
        "cards": len(cards),
        "mean": round(statistics.mean(abs(error) for _, error in cards), 1),
        "percent": round(statistics.mean(abs(error) / measured * 100 for measured, error in cards), 2),
        "worst": round(max((error for _, error in cards), key=abs), 1),
    }


def table(result: dict) -> Iterator[str]:
    """Lines: errors, then times."""
    yield f"\nMemory of a card that llama-server took: mean error of estimates (worst; below 0 is too little); {result['with']}"
    names = next(iter(result["errors"].values()))
    yield "    " + "".join(text.ljust(38) for text in ("", *names)).rstrip()
    for group, errors in result["errors"].items():
        cards = next(iter(errors.values()))["cards"]
        cells = (f"{one['mean']:.0f} MiB, {one['percent']:.1f} % ({one['worst']:+.0f} MiB)" for one in errors.values())
        yield "    " + "".join(text.ljust(38) for text in (f"{group} ({cards} cards)", *cells)).rstrip()
    times = (f"{each:.1f} ms" for each in result["milliseconds"].values())
    yield "    " + "".join(text.ljust(38) for text in ("median time, in a running process", *times)).rstrip()
