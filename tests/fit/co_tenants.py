# SPDX-License-Identifier: GPL-3.0-or-later
"""Two llama-servers in one A40's memory: python tests/fit/co_tenants.py --server PATH --arguments FILE --out FILE.

On a bigger card a third process holds all but an A40's memory. Then two servers load side by side and read prompts of full length in
all slots at once, while the driver is asked every 50 ms what each process takes. Writes co_tenants.json.
"""
from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from measure import MIB, Nvml

A40 = 45404  # MiB that a server finds free on one
SPARE, PREDICT, SECONDS = 128, 64, 400  # tokens of a slot left free, tokens to write, most that loading or an answer may take
# Takes all of the GPU but so many MiB, in pieces that the driver hands out, says so, and holds it until its input ends.
BALLAST = """
import ctypes, sys
cuda, leave = ctypes.CDLL("libcuda.so.1"), int(sys.argv[1]) << 20
def call(name, *arguments):
    code = getattr(cuda, name)(*arguments)
    if code:
        raise SystemExit(f"{name} answers {code}")
context, free, total, piece = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_size_t(), ctypes.c_void_p()
call("cuInit", 0)
call("cuCtxCreate_v2", ctypes.byref(context), 0, 0)
for size in (1 << 30, 64 << 20, 2 << 20):
    while True:
        call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        if free.value - leave < size or cuda.cuMemAlloc_v2(ctypes.byref(piece), ctypes.c_size_t(size)):
            break
call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
print(free.value >> 20, flush=True)
sys.stdin.read()
"""


class _Process(ctypes.Structure):
    _fields_ = [("pid", ctypes.c_uint), ("used", ctypes.c_ulonglong), ("instance", ctypes.c_uint), ("compute", ctypes.c_uint)]


class Processes(Nvml):
    """The driver's count of memory for each process on the first GPU."""

    def each(self) -> dict[int, float]:
        """MiB by process id."""
        count, found = ctypes.c_uint(64), (_Process * 64)()
        self._call("nvmlDeviceGetComputeRunningProcesses_v3", self._devices[0], ctypes.byref(count), found)
        return {process.pid: process.used / MIB for process in found[: count.value]}


class Peaks(threading.Thread):
    """The most that each process took, and all but the ballast together, since the start."""

    def __init__(self, nvml: Processes, ballast: int) -> None:
        super().__init__(daemon=True)
        self._nvml, self._ballast, self._end = nvml, ballast, threading.Event()
        self.each: dict[int, float] = {}
        self.together = 0.0
        self.start()

    def run(self) -> None:
        while not self._end.wait(0.05):
            now = self._nvml.each()
            now.pop(self._ballast, None)
            self.together = max(self.together, sum(now.values()))
            self.each = {pid: max(size, self.each.get(pid, 0.0)) for pid, size in {**self.each, **now}.items()}

    def stop(self) -> None:
        self._end.set()
        self.join()


@contextlib.contextmanager
def ballast(leave: int) -> Iterator[tuple[int, int]]:
    """A process that leaves so many MiB of the GPU; its id, and the MiB that it left."""
    with subprocess.Popen([sys.executable, "-c", BALLAST, str(leave)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.pid, int(process.stdout.readline())
        finally:
            process.stdin.close()


def ask(port: int, path: str, body: dict | None = None, key: str = "") -> tuple[int, str]:
    """Status and text of an answer; 0 where there is none."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode() if body else None, headers)
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except OSError as error:
        return 0, str(error)


def changed(arguments: list[str], options: dict[str, object]) -> list[str]:
    """The command line with other values of options that it has."""
    values = {arguments.index(name) + 1: str(value) for name, value in options.items()}
    return [values.get(place, argument) for place, argument in enumerate(arguments)]


def start(server: Path, arguments: list[str], log: Path, **environment: str) -> subprocess.Popen:
    with log.open("w") as output:
        return subprocess.Popen([server, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                env=os.environ | environment)


def ready(process: subprocess.Popen, port: int) -> bool:
    """Whether the server got ready; False where it ended."""
    end = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < end:
        if ask(port, "/health")[0] == 200:
            return True
        time.sleep(0.05)
    return False


def stop(process: subprocess.Popen) -> int:
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(15)
    process.kill()
    return process.wait()


def serve(server: Path, arguments: list[str], context: int, logs: Path, nvml: Processes) -> dict[str, object]:
    """Two servers with so many tokens of context a slot, both asked in all slots at once; what they took and answered."""
    slots = int(arguments[arguments.index("--parallel") + 1])
    key = Path(arguments[arguments.index("--api-key-file") + 1]).read_text().split()[0]
    arguments, tokens = changed(arguments, {"--ctx-size": context * slots}), context - SPARE
    ports = {"tenant-a": 8080, "tenant-b": 8081}
    with ballast(A40) as (holder, left):
        peaks = Peaks(nvml, holder)
        servers = {name: start(server, changed(arguments, {"--alias": name, "--port": port}), logs / f"{name}.log")
                   for name, port in ports.items()}
        try:
            loaded = {name: ready(servers[name], port) for name, port in ports.items()}
            began, then = time.monotonic(), dict(peaks.each)

            def work(name: str, slot: int) -> tuple[int, str]:
                return ask(ports[name], "/completion", {"prompt": [300 + slot] * tokens, "n_predict": PREDICT, "id_slot": slot,
                                                        "cache_prompt": False, "temperature": 0, "ignore_eos": True}, key)

            with ThreadPoolExecutor(2 * slots) as pool:
                asked = {name: [pool.submit(work, name, slot) for slot in range(slots)] for name in ports}
                answers = {name: [future.result() for future in futures] for name, futures in asked.items()}
            seconds = time.monotonic() - began
            alive = {name: process.poll() is None for name, process in servers.items()}
        finally:
            peaks.stop()
            statuses = {name: stop(process) for name, process in servers.items()}
    return {
        "context": context, "slots": slots, "free_mib": left, "together_mib": peaks.together, "seconds": round(seconds, 1), "tenants": {
            name: {
                "ready": loaded[name], "alive_after": alive[name], "status": statuses[name],
                "loaded_mib": then.get(process.pid), "peak_mib": peaks.each.get(process.pid),
                "answers": [status for status, _ in answers[name]],
                "prompt_tokens": [json.loads(text)["tokens_evaluated"] for status, text in answers[name] if status == 200],
            } for name, process in servers.items()
        },
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", type=Path, required=True, help="llama-server")
    parser.add_argument("--arguments", type=Path, required=True, help="JSON list of what follows it on the command line")
    parser.add_argument("--contexts", type=int, nargs="+", required=True, metavar="TOKENS", help="of a slot; a measurement of each")
    parser.add_argument("--out", type=Path, required=True, help="co_tenants.json")
    options = parser.parse_args()
    arguments, nvml = json.loads(options.arguments.read_text()), Processes()
    version = subprocess.run([options.server, "--version"], capture_output=True, text=True, check=True)
    with tempfile.TemporaryDirectory() as logs:
        runs = [serve(options.server, arguments, context, Path(logs), nvml) for context in options.contexts]
    build = re.search("version: (.*)", version.stdout + version.stderr)[1]
    options.out.write_text(json.dumps({"build": build, "on": nvml.about(), "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
