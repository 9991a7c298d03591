# SPDX-License-Identifier: GPL-3.0-or-later
"""What a platform run in which nothing changes asks Exoscale, counted on the stand-in for its API."""
from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import yaml

from tests.sandbox.progress import run

from . import REPOSITORY
from .contestants import LOCAL

sys.path.append(str(REPOSITORY / "tests/sandbox"))  # where the stand-in's parts are, as when it is started
import exoscale_api

LIMIT = 3  # requests: the lists of zones, clusters and instance types


def play(folder: Path) -> list[dict]:
    """A play with what the roles sks_gpu_nodes and engineer ask of Exoscale: a cluster, two pools, three kubeconfigs."""
    cluster = {"zone": "de-fra-1", "cluster": "llm"}
    pools = [{"name": "system", "instance_type": "standard.medium", "size": 1},
             {"name": "gpu", "instance_type": "gpu3.small", "size": 2, "labels": {"selfhosted.llm/pool": "gpu"}}]
    kubeconfigs = [{"user": user, "groups": [group], "dest": str(folder / f"kube/{user}.yml")}
                   for user, group in (("admin", "system:masters"), ("alice", "llm:alice"), ("bob", "llm:bob"))]
    tasks = [("sks_cluster", {"zone": "de-fra-1", "name": "llm"}),
             *(("sks_nodepool", cluster | pool) for pool in pools),
             *(("sks_kubeconfig", cluster | kubeconfig) for kubeconfig in kubeconfigs)]
    return [{"hosts": "all", "gather_facts": False, "vars": LOCAL,
             "tasks": [{"name": name, f"selfhosted.llm.{name}": options} for name, options in tasks]}]


def measure() -> dict:
    """Run the play twice on a stand-in of its own; return the second run's seconds, and its calls by operation."""
    exoscale_api.Handler.log_message = lambda *_: None
    server = exoscale_api.Exoscale(("127.0.0.1", 0), seconds=0.0)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            folder = Path(name)
            (folder / "play.yml").write_text(yaml.safe_dump(play(folder)))
            environment = os.environ | {
                "HOME": name, "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "PYTHONPATH": os.pathsep.join(sys.path),
                "EXOSCALE_API_ENDPOINT": server.url, "EXOSCALE_API_KEY": exoscale_api.catalogue.KEY,
                "EXOSCALE_API_SECRET": exoscale_api.catalogue.SECRET, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
            }
            command = [sys.executable, "-m", "ansible", "playbook", folder / "play.yml", "-i", "platform,"]
            for _first_then_unchanged in range(2):
                server.calls.clear()
                start = time.perf_counter()
                run(command, folder / "log", cwd=REPOSITORY, env=environment)
                seconds = time.perf_counter() - start
            return {"seconds": round(seconds, 3), "calls": dict(server.calls)}
    finally:
        server.shutdown()
        server.server_close()


def goals(result: dict) -> dict[str, bool]:
    """The goal, and whether it holds."""
    calls = sum(result["calls"].values())
    return {f"platform, no-op: {calls} calls to Exoscale, {result['seconds']:.1f} s; at most {LIMIT} calls": calls <= LIMIT}
