# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure, print the tables, write .sandbox/bench.json: python -m tests.bench [--asked | NUMBER_OF_DEPLOYMENTS ...]."""
from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from platform import platform as system
from platform import python_version

from ansible_collections.selfhosted.llm.plugins.module_utils.gpu import pool_record
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import Kube
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import BY_NAME
from tests.sandbox import build
from tests.sandbox.progress import SandboxError, run, say

from . import COLLECTIONS, REPOSITORY, fit, models, objects, platform, programs
from .contestants import MODEL, OTHERS, Contestant, Ours
from .server import Server

SIZES = (1, 10, 50)
PHASES = ("first run", "no-op", "check mode", "one change")
POOL = {"name": "llm", "instance_type": "gpu3.medium", "size": 1, "slots_per_gpu": 2,
        "taints": {"nodepool": {"value": "llm", "effect": "NoSchedule"}}}
# A measurement is repeated in turn with the others', unless it takes longer than this (seconds).
SAMPLES, LONG = 3, 8.0
RESULT = REPOSITORY / ".sandbox/bench.json"

# (size, phase, contestant) -> {"seconds": [...], "requests": n, "writes": n}, counts of the last sample
Results = dict[tuple[int, str, str], dict]


class Bench:
    """Measurements on one API server.

    Args:
        work: directory for everything that is written.
        environment: in which the contestants run.
    """

    def __init__(self, work: Path, server: Server, environment: dict[str, str]):
        self.work = work
        self.server = server
        self.environment = environment
        self.results: Results = {}

    def measure(self, size: int, round_: int) -> None:
        """All phases with `size` deployments, in namespaces of their own."""
        name = f"n{size}r{round_}"
        ours = Ours(self.work / name / "ours", self.server.kubeconfig, name)
        others = [kind(self.work / name / kind.__name__.lower(), self.server.kubeconfig, name) for kind in OTHERS]
        for contestant in (ours, *others):
            self._create({"kind": "Namespace", "metadata": {"name": contestant.namespace}})

        def ours_wants(edited: bool) -> None:
            ours.write_inventory(size, edited)

        def others_want() -> None:
            for contestant in others:
                contestant.write(objects.written(self.server.kube, name))

        ours_wants(edited=False)
        self._time(size, "first run", ours)
        others_want()
        for contestant in others:
            self._time(size, "first run", contestant)
            self._compare(ours, contestant, size)
        for phase in ("no-op", "check mode"):
            for sample in range(SAMPLES):
                for contestant in (ours, *others):
                    self._repeat(size, phase, contestant, sample)
        for sample in range(SAMPLES):
            ours_wants(edited=sample % 2 == 0)
            self._repeat(size, "one change", ours, sample)
            others_want()
            for contestant in others:
                self._repeat(size, "one change", contestant, sample)

    def _repeat(self, size: int, phase: str, contestant: Contestant, sample: int) -> None:
        known = self.results.get((size, phase, contestant.name))
        if not sample or known["seconds"][-1] < LONG:
            self._time(size, phase, contestant)

    def _time(self, size: int, phase: str, contestant: Contestant) -> None:
        """One run of one contestant."""
        commands = contestant.commands(check=phase == "check mode")
        log = self.work / f"{contestant.namespace}.log"
        position = self.server.position()
        start = time.perf_counter()
        for command in commands:
            run(command, log, cwd=REPOSITORY, env=self.environment)
        seconds = time.perf_counter() - start
        counts = self.server.counts(position)
        known = self.results.setdefault((size, phase, contestant.name), {"seconds": []})
        known["seconds"].append(round(seconds, 3))
        known.update(counts._asdict())
        say(f"{size:2} deployments, {phase}, {contestant.name}: {seconds:.2f} s, "
            f"{counts.requests} requests, {counts.writes} writes")

    def _compare(self, ours: Contestant, other: Contestant, size: int) -> None:
        """Make sure that another contestant made as many deployments."""
        made = len(self.server.kube.request("GET", BY_NAME["Deployment"].path(other.namespace))["items"])
        if made != size:
            raise SandboxError(f"{other.name} made {made} of {size} deployments: its output is in {self.work}.")

    def _create(self, obj: dict) -> None:
        create(self.server.kube, obj)


def create(kube: Kube, obj: dict) -> None:
    """Make an object of a core kind."""
    kube.request("POST", BY_NAME[obj["kind"]].path(obj["metadata"].get("namespace")), {"apiVersion": "v1", **obj})


@contextmanager
def hub(work: Path) -> Iterator[str]:
    """The address of a hub stand-in with one small model."""
    weights = work / "hub" / MODEL / "small.Q4_K_M.gguf"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"GGUF")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{probe.getsockname()[1]}"
    with (work / "hub.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, REPOSITORY / "tests/sandbox/hub.py", "--listen", listen, "--files", work / "hub"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield f"http://{listen}"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def ready_bench() -> Iterator[Bench]:
    """An API server with the platform's record, a hub, and an environment that nothing of this machine's user reaches."""
    with build.exclusive(build.CACHE / "lock", "the cache"):
        kubernetes, kubectl, helm = programs.kubernetes(), programs.kubectl(), programs.helm()
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        for name, program in (("kubectl", kubectl), ("helm", helm)):
            (work / "bin").mkdir(exist_ok=True)
            (work / "bin" / name).symlink_to(program)
        address = stack.enter_context(hub(work))
        server = stack.enter_context(Server(work / "server", kubernetes))
        environment = {
            "PATH": f"{work}/bin:{REPOSITORY}/.venv/bin:{os.environ['PATH']}", "HOME": str(work), "LANG": "C.UTF-8",
            "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "KUBECONFIG": str(server.kubeconfig), "K8S_AUTH_KUBECONFIG": str(server.kubeconfig),
            "HF_ENDPOINT": address, "HF_TOKEN": "token-of-alice", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
        }
        create(server.kube, {"kind": "Namespace", "metadata": {"name": "selfhosted-llm"}})
        create(server.kube, {"kind": "ConfigMap", "metadata": {"name": "platform", "namespace": "selfhosted-llm"},
                             "data": {"pools": json.dumps([pool_record(POOL)])}})
        yield Bench(work, server, environment)


def tables(results: Results) -> Iterator[str]:
    """Lines: seconds with our ratio to each contestant, then requests and writes."""
    names = [kind.name for kind in (Ours, *OTHERS)]
    sizes = sorted({size for size, _phase, _name in results})

    def lines(title: str, cell: Callable[[int, str, str], str]) -> Iterator[str]:
        yield f"\n{title}"
        yield "    " + "".join(text.ljust(22) for text in ("", *names)).rstrip()
        for size in sizes:
            for phase in PHASES:
                cells = (phase, *(cell(size, phase, name) for name in names))
                yield f"{size:3} " + "".join(text.ljust(22) for text in cells).rstrip()

    def seconds(size: int, phase: str, name: str) -> str:
        median = of(results, size, phase, name)
        ratio = of(results, size, phase, Ours.name) / median
        return f"{median:.2f}" + ("" if name == Ours.name else f"  ({ratio:.2g}x)")

    def counts(size: int, phase: str, name: str) -> str:
        return "{requests} / {writes}".format(**results[size, phase, name])

    yield from lines("Deployments, phase: median seconds (selfhosted.llm's time by this one's)", seconds)
    yield from lines("Requests to the API server / of these not reads and not dry runs", counts)


def of(results: Results, size: int, phase: str, name: str) -> float:
    """Median seconds."""
    return statistics.median(results[size, phase, name]["seconds"])


def goals(results: Results) -> dict[str, bool]:
    """Which goals hold, of those that were measured."""
    held = {}
    for size, phase, name in sorted(results):
        if name == Ours.name and phase in ("no-op", "check mode"):
            held[f"{size} deployments, {phase}: no write"] = results[size, phase, name]["writes"] == 0
    if (50, "no-op", Ours.name) in results:
        mine = of(results, 50, "no-op", Ours.name)
        for name, limit in (("kubectl", 5), ("helm", 0.15)):
            ratio = mine / of(results, 50, "no-op", name)
            held[f"50 deployments, no-op: {ratio:.2g} of {name}'s time, at most {limit}"] = ratio <= limit
    if (1, "no-op", Ours.name) in results:
        mine = of(results, 1, "no-op", Ours.name)
        held[f"1 deployment, no-op: {mine:.2f} s, at most 2.5 s"] = mine <= 2.5
    return held


def tell(held: dict[str, bool]) -> None:
    """Print which goals hold."""
    print("\nGoals")
    for text, holds in held.items():
        print(f"{'holds' if holds else 'MISSED':7} {text}")


def main() -> int:
    """Run the bench; a goal that does not hold is told, and is no failure."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, default=SIZES, metavar="NUMBER_OF_DEPLOYMENTS")
    parser.add_argument("--asked", action="store_true", help="only what Exoscale and the hub are asked; writes no file")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # with the servers that it started
    start = time.monotonic()
    try:
        calls, looked_up, judged = platform.measure(), models.measure(), fit.measure()
        asked = platform.goals(calls) | models.goals(looked_up) | fit.goals(judged)
        if options.asked:
            tell(asked)
            return 0
        with ready_bench() as bench:
            for size in options.sizes:
                for round_ in range(SAMPLES if size == 1 else 1):
                    bench.measure(size, round_)
            results = bench.results
        compared = fit.compare()
    except SandboxError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join([*tables(results), *fit.table(compared)]))
    held = goals(results) | asked
    tell(held)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps({
        "machine": {"cpus": os.cpu_count(), "system": system(), "python": python_version()},
        "seconds": round(time.monotonic() - start),
        "results": [{"deployments": size, "phase": phase, "contestant": name, **value}
                    for (size, phase, name), value in results.items()],
        "platform": calls,
        "models": looked_up,
        "fit": judged,
        "estimates": compared,
        "goals": held,
    }, indent=1) + "\n")
    print(f"\n{RESULT.relative_to(REPOSITORY)} has all samples. Nothing runs on this API server: replicas are 0.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
