# SPDX-License-Identifier: GPL-3.0-or-later
"""What llama-server takes of GPU memory: python tests/fit/measure.py --server PATH --models DIR --out DIR.

Runs llama-server once for each line of SINGLE and PAIR with the files of tests/fit/models.py and writes measured.csv and the
servers' logs (logs.gz). A line that fails becomes a row that says why.
"""
from __future__ import annotations

import argparse
import csv
import ctypes
import gzip
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

# Model and llama-server's options; what matters most first, as --budget cuts the end. Fits one GPU of 80 GB.
SINGLE = """
llama-3.1-8b-Q4_K_M -c 8192 -np 1
llama-3.1-8b-Q4_K_M -c 2048 -np 1
llama-3.1-8b-Q4_K_M -c 32768 -np 1
llama-3.1-8b-Q4_K_M -c 131072 -np 1
llama-3.1-8b-Q4_K_M -c 8192 -np 4
llama-3.1-8b-Q4_K_M -c 8192 -np 4 -kvu
llama-3.1-8b-Q4_K_M -c 32768 -np 8
llama-3.1-8b-Q4_K_M -c 32768 -np 8 -kvu
llama-3.1-8b-Q4_K_M -c 8192
llama-3.1-8b-Q4_K_M -c 8192 -np 1 -ctk q8_0 -ctv q8_0
llama-3.1-8b-Q4_K_M -c 8192 -np 1 -fa off
llama-3.1-8b-Q4_K_M -c 8192 -np 1 -ub 128
llama-3.1-8b-Q4_K_M -c 8192 -np 1 -ub 2048
llama-3.1-8b-Q4_K_M -c 8192 -np 1 -ngl 0
llama-3.1-8b-Q4_K_M -c 8192 -np 1 -ngl 10
llama-3.1-8b-Q4_K_M -c 8192 -np 1 -ngl 20
llama-3.1-8b-Q4_K_M -c 8192 -np 1 -ngl 33
gemma-2-9b-Q4_K_M -c 8192 -np 1
gemma-2-9b-Q4_K_M -c 32768 -np 4
qwen3-30b-a3b-Q4_K_M -c 8192 -np 1
qwen3-30b-a3b-Q4_K_M -c 32768 -np 4
qwen2.5-7b-Q4_K_M -c 8192 -np 1
qwen2.5-7b-Q4_K_M -c 32768 -np 4
phi-3-mini-4k-Q4_K_M -c 4096 -np 1
phi-3-mini-4k-Q4_K_M -c 16384 -np 4
gpt-oss-20b-MXFP4 -c 8192 -np 1
gpt-oss-20b-MXFP4 -c 32768 -np 4
gemma-3-12b-Q4_K_M -c 32768 -np 1
gemma-3-12b-Q4_K_M -c 32768 -np 4
llama-3.2-1b-Q4_0 -c 8192 -np 1
qwen3-0.6b-Q8_0 -c 4096 -np 1
mistral-7b-v0.3-Q6_K -c 32768 -np 1
llama-3.1-8b-F16 -c 8192 -np 1
llama-3.1-8b-Q4_K_M -c 32768 -np 4 -ctk q8_0 -ctv q8_0
llama-3.1-8b-Q4_K_M -c 8192 -np 1 -ctk q8_0
llama-3.1-8b-Q4_K_M -c 32768 -np 1 -fa off
llama-3.1-8b-Q4_K_M -c 8192 -np 4 -fa off
gemma-2-9b-Q4_K_M -c 8192 -np 1 -ngl 20
qwen3-30b-a3b-Q4_K_M -c 8192 -np 1 -ngl 24
qwen2.5-7b-Q4_K_M -c 8192 -np 1 -ngl 14
phi-3-mini-4k-Q4_K_M -c 4096 -np 1 -ngl 16
gpt-oss-20b-MXFP4 -c 8192 -np 1 -ngl 12
gemma-3-12b-Q4_K_M -c 32768 -np 1 -ngl 24
llama-3.2-1b-Q4_0 -c 8192 -np 1 -ngl 8
qwen3-0.6b-Q8_0 -c 4096 -np 1 -ngl 10
mistral-7b-v0.3-Q6_K -c 8192 -np 1 -ngl 16
llama-3.1-70b-Q4_K_M -c 8192 -np 1
gemma-3-12b-Q4_K_M -c 32768 -np 4 -kvu
gemma-3-12b-Q4_K_M -c 32768 -np 1 -ub 2048
gpt-oss-20b-MXFP4 -c 32768 -np 4 -kvu
gpt-oss-20b-MXFP4 -c 131072 -np 1
gemma-2-9b-Q4_K_M -c 8192 -np 1 -ctk q8_0 -ctv q8_0
gemma-2-9b-Q4_K_M -c 8192 -np 1 -fa off
phi-3-mini-4k-Q4_K_M -c 16384 -np 4 -ctk q8_0 -ctv q8_0
qwen3-30b-a3b-Q4_K_M -c 8192 -np 1 -ub 2048
qwen3-30b-a3b-Q4_K_M -c 8192 -np 1 -fa off
qwen2.5-7b-Q4_K_M -c 32768 -np 4 -ctk q8_0 -ctv q8_0
llama-3.1-8b-F16 -c 32768 -np 4
llama-3.1-8b-F16 -c 8192 -np 1 -ngl 16
llama-3.1-8b-Q8_0 -c 8192 -np 1
llama-3.2-1b-F16 -c 131072 -np 1
llama-3.2-1b-Q4_0 -c 32768 -np 4
gemma-3-4b-Q4_0 -c 8192 -np 1
gemma-3-4b-Q4_0 -c 131072 -np 1
mixtral-8x7b-Q4_K_M -c 8192 -np 1
mixtral-8x7b-Q4_K_M -c 8192 -np 1 -ngl 16
llama-3.1-8b-Q4_K_M -c 131072 -np 1 -ctk q8_0 -ctv q8_0
llama-3.1-8b-Q4_K_M -c 8192 -np 1 -ctk q8_0 -fa off
llama-3.1-8b-Q4_K_M -c 8192 -np 1 -ctk q4_0 -ctv q4_0
llama-3.1-8b-Q4_K_M -c 32768 -np 1 -ub 2048 -fa off
qwen3-0.6b-Q8_0 -c 40960 -np 4
gpt-oss-20b-MXFP4 -c 32768 -np 1 -ub 2048
gpt-oss-20b-MXFP4 -c 8192 -np 1 -fa off
llama-3.1-70b-Q4_K_M -c 8192 -np 1 -ngl 40
llama-3.1-8b-Q4_K_M -c 65536 -np 1 -ngl 16
qwen2.5-7b-Q4_K_M -c 32768 -np 1 -ngl 20 -ctk q8_0 -ctv q8_0
gemma-2-9b-Q4_K_M -c 16384 -np 2 -ngl 30
qwen3-30b-a3b-Q4_K_M -c 32768 -np 1 -ngl 10
mixtral-8x7b-Q4_K_M -c 32768 -np 4
phi-3-mini-4k-Q4_K_M -c 16384 -np 1 -ub 1024
llama-3.2-1b-Q4_0 -c 131072 -np 16
gemma-3-12b-Q4_K_M -c 131072 -np 8 -ctk q8_0 -ctv q8_0
mistral-7b-v0.3-Q6_K -c 32768 -np 1 -ngl 20 -fa off
llama-3.1-8b-Q8_0 -c 16384 -np 2 -ub 1024
"""
# On two GPUs
PAIR = """
llama-3.1-8b-F16 -c 8192 -np 1
llama-3.1-70b-Q4_K_M -c 8192 -np 1
gemma-2-9b-Q4_K_M -c 8192 -np 1
qwen3-30b-a3b-Q4_K_M -c 8192 -np 1
llama-3.1-8b-F16 -c 8192 -np 1 -ts 3,1
llama-3.1-70b-Q4_K_M -c 32768 -np 4 -ts 3,1
gemma-2-9b-Q4_K_M -c 8192 -np 1 -ts 3,1
qwen3-30b-a3b-Q4_K_M -c 8192 -np 1 -ts 3,1
llama-3.1-8b-F16 -c 32768 -np 4
llama-3.1-8b-F16 -c 8192 -np 1 -ub 2048
llama-3.1-8b-F16 -c 8192 -np 1 -ngl 20
llama-3.1-8b-F16 -c 8192 -np 1 -fa off
llama-3.1-70b-Q4_K_M -c 8192 -np 1 -ngl 60
llama-3.1-8b-F16 -c 8192 -np 1 -sm none
llama-3.1-8b-F16 -c 8192 -np 1 -sm tensor
"""
PAIR_SECONDS = 15  # of the budget, kept for each line of PAIR
MIB = 1 << 20
LOAD_SECONDS, PROMPT_SECONDS = 180, 120
SHORT, LONG, PREDICT = 16, 4096, 8  # tokens
# Without flash attention or with a quantised cache, what is copied for a prompt grows with it.
LONG_COPIED = 32768
GPU_COLUMNS = ("before", "loaded", "short", "long", "model", "kv", "compute")
SERVER_COLUMNS = ("layers", "n_ctx", "n_slots", "n_ctx_slot", "kv_unified", "flash_attention", "pipeline", "cells", "host_model",
                  "host_kv", "host_compute", "host_output")
OPTIONS = argparse.ArgumentParser()
OPTIONS.add_argument("model")
OPTIONS.add_argument("-c", dest="ctx")
OPTIONS.add_argument("-np", default="")
OPTIONS.add_argument("-kvu", action="store_true")
OPTIONS.add_argument("-ngl", default="999")
OPTIONS.add_argument("-ctk", default="f16")
OPTIONS.add_argument("-ctv", default="f16")
OPTIONS.add_argument("-fa", default="auto")
OPTIONS.add_argument("-ub", default="512")
OPTIONS.add_argument("-sm", default="layer")
OPTIONS.add_argument("-ts", default="")
COLUMNS = ("model", "gpus", "ctx", "np", "kvu", "ngl", "ctk", "ctv", "fa", "ub", "sm", "ts",
           *(f"gpu{number}_{name}" for number in (0, 1) for name in GPU_COLUMNS), *SERVER_COLUMNS, "long_tokens", "seconds", "error")


class Failure(Exception):
    """A sentence for the column error."""


class Nvml:
    """The driver's own count of memory, of all processes on a GPU."""

    class _Memory(ctypes.Structure):
        _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libnvidia-ml.so.1")
        self._call("nvmlInit_v2")
        count = ctypes.c_uint()
        self._call("nvmlDeviceGetCount_v2", ctypes.byref(count))
        self._devices = [ctypes.c_void_p() for _ in range(count.value)]
        for number, device in enumerate(self._devices):
            self._call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(number), ctypes.byref(device))

    def __len__(self) -> int:
        return len(self._devices)

    def _call(self, name: str, *arguments: object) -> None:
        code = getattr(self._library, name)(*arguments)
        if code:
            raise Failure(f"{name} answers {code}")

    def used(self, gpu: int) -> float:
        """MiB."""
        memory = self._Memory()
        self._call("nvmlDeviceGetMemoryInfo", self._devices[gpu], ctypes.byref(memory))
        return memory.used / MIB

    def about(self) -> str:
        """Driver, CUDA and GPU names."""
        text, cuda, memory = ctypes.create_string_buffer(96), ctypes.c_int(), self._Memory()
        self._call("nvmlSystemGetDriverVersion", text, ctypes.c_uint(len(text)))
        driver = text.value.decode()
        self._call("nvmlSystemGetCudaDriverVersion_v2", ctypes.byref(cuda))
        names = []
        for device in self._devices:
            self._call("nvmlDeviceGetName", device, text, ctypes.c_uint(len(text)))
            self._call("nvmlDeviceGetMemoryInfo", device, ctypes.byref(memory))
            names.append(f"{text.value.decode()} ({memory.total // MIB} MiB)")
        return f"driver {driver}, CUDA {cuda.value // 1000}.{cuda.value % 1000 // 10}, GPUs {', '.join(names)}"


class Sampler(threading.Thread):
    """The most that was used of each GPU since the start, read every 50 ms."""

    def __init__(self, nvml: Nvml, gpus: list[int]) -> None:
        super().__init__(daemon=True)
        self._nvml, self._gpus, self._end = nvml, gpus, threading.Event()
        self.peak = [0.0] * len(gpus)
        self.start()

    def run(self) -> None:
        while not self._end.wait(0.05):
            self.read()

    def read(self) -> list[float]:
        """MiB, the present included."""
        self.peak = [max(pair) for pair in zip(self.peak, map(self._nvml.used, self._gpus), strict=True)]
        return self.peak

    def stop(self) -> None:
        self._end.set()
        self.join()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def request(port: int, path: str, body: dict | None = None) -> int:
    """Status of the answer; Failure with the answer to a POST that the server refuses."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PROMPT_SECONDS)
    try:
        connection.request("POST" if body else "GET", path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
    finally:
        connection.close()
    if body and answer.status != 200:
        raise Failure(f"{path} answers {answer.status}: {text[:200]}")
    return answer.status


def prompt(port: int, slot: int, tokens: int) -> None:
    """Have a slot read that many tokens, no two slots the same ones, and write PREDICT."""
    request(port, "/completion", {"prompt": [300 + slot] * tokens, "n_predict": PREDICT, "id_slot": slot, "cache_prompt": False,
                                  "temperature": 0, "ignore_eos": True})


def from_log(text: str) -> dict[str, object]:
    """Columns that the server's log tells; buffers in MiB."""
    row: dict[str, object] = {}
    sizes: dict[tuple[str, str], float] = {}
    for device, kind, size in re.findall(r"(CUDA[01]|CUDA_Host|CPU\w*|AMX) +(model|KV|compute|output) buffer size = *([\d.]+) MiB", text):
        # A file's parts and a model's caches add up; a compute buffer that is reserved again replaces the one before.
        sizes[device, kind] = float(size) + (sizes.get((device, kind), 0.0) if kind in ("model", "KV") else 0.0)
    for (device, kind), size in sizes.items():
        name = f"{f'gpu{device[-1]}' if device in ('CUDA0', 'CUDA1') else 'host'}_{kind.lower()}"
        row[name] = round(size + row.get(name, 0.0), 2)
    for name, pattern in {"layers": r"offloaded (\d+/\d+) layers", "n_ctx": r"n_ctx +=\s+(\d+)", "n_slots": r"n_slots = (\d+)",
                          "n_ctx_slot": r"n_ctx_slot = (\d+)", "kv_unified": r"kv_unified = '(\w+)'",
                          "flash_attention": r"Flash Attention (enabled|not supported)",
                          "pipeline": r"pipeline parallelism (enabled)"}.items():
        if found := re.findall(pattern, text):
            row[name] = found[-1]
    row["cells"] = " ".join(re.findall(r"MiB \( *(\d+) cells", text))  # per sequence, full attention before sliding windows
    return row


def measure(server: Path, models: Path, nvml: Nvml, line: str, gpus: list[int], keep: Callable[[str], None]) -> dict[str, object]:
    """A row of the table.

    Args:
        line: of SINGLE or PAIR.
        gpus: the numbers of the GPUs that the server sees.
        keep: takes the server's log.
    """
    model, *options = line.split()
    row: dict[str, object] = vars(OPTIONS.parse_args(line.split())) | {"gpus": len(gpus)}
    port, started = free_port(), time.monotonic()
    before = [nvml.used(gpu) for gpu in gpus]
    sampler = Sampler(nvml, gpus)

    def note(stage: str) -> None:
        for number, (peak, idle) in enumerate(zip(sampler.read(), before, strict=True)):
            row[f"gpu{number}_{stage}"] = round(peak - idle, 1)

    with tempfile.NamedTemporaryFile() as log:
        process = subprocess.Popen(
            [server, "-m", models / f"{model}.gguf", "-ngl", row["ngl"], *options, "--host", "127.0.0.1", "--port", str(port),
             "--fit", "off", "--no-ui", "--cache-ram", "0", "-lv", "4"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            env=os.environ | {"CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus)), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"})

        def read_log() -> str:
            return Path(log.name).read_text(errors="replace")

        try:
            for number, idle in enumerate(before):
                row[f"gpu{number}_before"] = round(idle, 1)
            while True:
                if process.poll() is not None:
                    raise Failure(f"the server ended with status {process.returncode}")
                with suppress(OSError):
                    if request(port, "/health") == 200:
                        break
                if time.monotonic() > started + LOAD_SECONDS:
                    raise Failure(f"the server is not ready after {LOAD_SECONDS} s")
                time.sleep(0.1)
            note("loaded")
            row |= from_log(read_log())
            prompt(port, 0, SHORT)
            note("short")
            slots = int(row["n_slots"])
            most = LONG if row["fa"] == "auto" and row["ctk"] == row["ctv"] == "f16" else LONG_COPIED
            row["long_tokens"] = tokens = min(int(row["n_ctx"]) // slots - 64, int(row["n_ctx_slot"]) - 64, most)
            with ThreadPoolExecutor(slots) as pool:
                list(pool.map(lambda slot: prompt(port, slot, tokens), range(slots)))
            note("long")
        except Exception as error:  # whatever it is, the other lines still count
            note("long")
            complaints = re.findall(r"^.* E +(.*)|^(?:CUDA error.*|.*out of memory.*|.*GGML_ASSERT.*)", read_log(), re.M)
            row |= from_log(read_log())
            row["error"] = "; ".join([f"{type(error).__name__}: {error}", *filter(None, complaints)])[:400]
        finally:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
            sampler.stop()
            keep(read_log())
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(nvml.used(gpu) > idle + 8 for gpu, idle in zip(gpus, before, strict=True)):
        time.sleep(0.1)
    row["seconds"] = round(time.monotonic() - started, 1)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--server", type=Path, required=True, help="llama-server")
    parser.add_argument("--models", type=Path, required=True, help="directory that models.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="directory for measured.csv and logs.gz")
    parser.add_argument("--only", default="", metavar="REGEX", help="the lines to measure")
    parser.add_argument("--budget", type=float, default=3600.0, metavar="SECONDS", help="no line is begun after them")
    arguments = parser.parse_args()
    started, lock, nvml = time.monotonic(), threading.Lock(), Nvml()
    single, pair = ([line for line in lines.strip().splitlines() if re.search(arguments.only, line)] for lines in (SINGLE, PAIR))
    if len(nvml) < 2:
        pair = []
    version = subprocess.run([arguments.server, "--version"], capture_output=True, text=True, check=True)
    build = "; ".join(line.strip() for line in (version.stdout + version.stderr).splitlines() if re.match(" *(version|built)", line))
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (arguments.out / "measured.csv").open("w", newline="") as table, gzip.open(arguments.out / "logs.gz", "wt") as logs:
        for comment in ("SPDX-License-Identifier: GPL-3.0-or-later", nvml.about(), f"llama.cpp {build}"):
            table.write(f"# {comment}\n")
        rows = csv.DictWriter(table, COLUMNS, extrasaction="ignore", lineterminator="\n")
        rows.writeheader()

        def work(lines: deque[str], gpus: list[int], deadline: float) -> None:
            while lines and time.monotonic() < deadline:
                line = lines.popleft()
                kept: list[str] = []
                row = measure(arguments.server, arguments.models, nvml, line, gpus, kept.append)
                with lock:
                    rows.writerow(row)
                    table.flush()
                    logs.write(f"===== {len(gpus)} GPU: {line}\n{''.join(kept)}\n")
                    logs.flush()
                    print(f"{time.monotonic() - started:6.1f} s  {line}  {row.get('gpu0_long')} {row.get('gpu1_long', '')} MiB in "
                          f"{row['seconds']} s  {row.get('error', '')}", flush=True)

        end = started + arguments.budget
        queue, workers = deque(single), range(min(len(nvml), 2))
        with ThreadPoolExecutor(len(workers)) as pool:
            for done in [pool.submit(work, queue, [gpu], end - PAIR_SECONDS * len(pair)) for gpu in workers]:
                done.result()
        work(deque(pair), [0, 1], end)


if __name__ == "__main__":
    main()
