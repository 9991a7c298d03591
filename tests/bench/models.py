# SPDX-License-Identifier: GPL-3.0-or-later
"""How long it takes to look many models up on a hub that is some way off: the stand-in with a delay before each answer."""
from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.sandbox.progress import run

from . import REPOSITORY

sys.path.append(str(REPOSITORY / "tests/sandbox"))  # where the stand-in is, as when it is started
import hub

MODELS, DELAY, LIMIT = 50, 0.05, 3.0  # number; seconds before each answer, and in all


def measure() -> dict:
    """Look the models up, every other of them gated and with one more question; return seconds and requests."""
    hub.Handler.log_message = lambda *_: None
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        models = [f"{'meta-llama' if number % 2 else 'org'}/model-{number}" for number in range(MODELS)]
        for model in models:
            (folder / "hub" / model).mkdir(parents=True)
            (folder / "hub" / model / "model.safetensors").write_bytes(b"weights")
        server = hub.Hub(("127.0.0.1", 0), folder / "hub")
        server.faults.append({"delay": DELAY})
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            environment = os.environ | {
                "HOME": name, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "PYTHONPATH": os.pathsep.join(sys.path),
                "HF_TOKEN": "token-of-alice", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
            }
            command = [sys.executable, "-m", "ansible", "adhoc", "localhost", "-m", "selfhosted.llm.hf_model_info",
                       "-a", json.dumps({"models": models, "engine": "tgi", "endpoint": server.url})]
            start = time.perf_counter()
            run(command, folder / "log", cwd=REPOSITORY, env=environment)
            seconds = time.perf_counter() - start
            granted = (folder / "log").read_text().count("granted")
        finally:
            server.shutdown()
            server.server_close()
    return {"seconds": round(seconds, 3), "granted": granted, "requests": sum(server.calls()["routes"].values())}


def goals(result: dict) -> dict[str, bool]:
    """The goal, and whether it holds."""
    took = f"{result['seconds']:.1f} s, {result['requests']} requests"
    holds = result["seconds"] <= LIMIT and result["granted"] == MODELS
    return {f"{MODELS} models of a hub {DELAY * 1000:.0f} ms away: {took}; at most {LIMIT:.0f} s": holds}
