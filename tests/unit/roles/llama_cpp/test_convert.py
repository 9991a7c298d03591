# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that makes GGUF files, with tools that behave as llama.cpp's by their real command lines.

Those were read in Debian's llama.cpp 0.7.0+dfsg-2, which names itself b11669: convert_hf_to_gguf.py (parse_args, main), and
`llama-quantize --help`. What the tools say when they fail was copied from runs of these. The real ones run in the sandbox.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import stat
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[4] / "roles/llama_cpp/files/convert.py"
SOURCE = "org/chat@0123456789abcdef0123456789abcdef01234567"

# ACT says what a tool does: {"convert" or "quantise": "slow", "killed", "no-gguf", "full", "imatrix", "raises"}
CONVERTER = """
import argparse, json, os, signal, sys, time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--outfile", type=Path, required=True)
parser.add_argument("--outtype", choices=["f32", "f16", "bf16", "q8_0", "tq1_0", "tq2_0", "auto"], default="auto")
parser.add_argument("--model-name")
parser.add_argument("model", type=Path)
arguments = parser.parse_args()
act = json.loads(os.environ["ACT"]).get("convert")
print("INFO:hf-to-gguf:Loading model:", arguments.model.name, file=sys.stderr)
architecture = json.loads((arguments.model / "config.json").read_text())["architectures"][0]
if architecture != "LlamaForCausalLM":
    sys.exit(f"ERROR:hf-to-gguf:Model {architecture} is not supported")
if act == "full":
    print("Traceback (most recent call last):", file=sys.stderr)
    sys.exit("OSError: [Errno 28] No space left on device")
if act == "raises":
    raise NotImplementedError("BPE pre-tokenizer was not recognized")
with arguments.outfile.open("wb") as out:
    for part in (b"NOPE" if act == "no-gguf" else b"GGUF", arguments.model_name.encode(), arguments.outtype.encode(), bytes(900)):
        out.write(part)
        out.flush()
        print("\\rWriting:  98%|########8 | 2.60M/2.67M [00:00<00:00, 26.0Mbyte/s]", end="", file=sys.stderr)
        if act == "slow":
            time.sleep(0.3)
        if act == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
"""
QUANTIZE = """
import json, os, signal, sys, time
from pathlib import Path

source, target, kind = sys.argv[1:]
act = json.loads(os.environ["ACT"]).get("quantise")
assert Path(source).read_bytes().startswith(b"GGUF")
print("[   1/  21] output.weight - [ 256, 296, 1, 1], type = bf16, converting to q6_K .. ", end="", file=sys.stderr)
Path(target).write_bytes((b"NOPE" if act == "no-gguf" else b"GGUF") + kind.encode() + Path(source).read_bytes()[4:100])
if act == "slow":
    time.sleep(1)
if act == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if act == "imatrix":
    print("llama_model_quantize: failed to quantize: this quantization requires an imatrix!", file=sys.stderr)
    sys.exit(f"llama_quantize: failed to quantize model from '{source}'")
"""


def safetensors(dtype: str, *shape: int) -> bytes:
    header = json.dumps({"__metadata__": {"format": "pt"}, "w": {"dtype": dtype, "shape": shape, "data_offsets": [0, 0]}}).encode()
    return struct.pack("<Q", len(header)) + header


class Job:
    """One run after another, with the same volume."""

    def __init__(self, tmp_path):
        self.tools, self.volume, self.message = tmp_path / "app", tmp_path / "volume", tmp_path / "termination-log"
        self.tools.mkdir()
        self.volume.mkdir()
        self.message.touch()
        (self.tools / "convert_hf_to_gguf.py").write_text(CONVERTER)
        quantize = self.tools / "llama-quantize"
        quantize.write_text(f"#!{sys.executable}\n{QUANTIZE}")
        quantize.chmod(0o755)
        (self.volume / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
        (self.volume / "model.safetensors").write_bytes(safetensors("BF16", 20, 20))

    def start(self, quant="Q4_K_M", **act) -> subprocess.Popen:
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "ACT": json.dumps(act),
            "LLM_DIRECTORY": str(self.volume),
            "LLM_SOURCE": SOURCE,
            "LLM_QUANT": quant,
            "LLM_OUTPUT": f"chat-{quant}.gguf",
            "LLM_CONVERTER": str(self.tools),
            "LLM_EVERY": "0.05",
            "LLM_TERMINATION_LOG": str(self.message),
        }
        return subprocess.Popen([sys.executable, "-c", PROGRAM.read_text()], env=environment, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, start_new_session=True)

    def end(self, process) -> tuple[int, str]:
        """Exit code and output. The last line is the termination message, and nothing unfinished stays on the volume."""
        output, _ = process.communicate(timeout=30)
        assert self.message.read_text() == output.splitlines()[-1]
        assert "Traceback" not in output and not self.parts()
        return process.returncode, output

    def run(self, quant="Q4_K_M", **act) -> tuple[int, str]:
        return self.end(self.start(quant, **act))

    def parts(self) -> list[str]:
        return sorted(path.name for path in self.volume.glob("*.part"))

    def record(self) -> dict:
        return json.loads((self.volume / ".converted.json").read_text())


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path)


def until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("quant", "dtype", "content"),
    [
        ("Q4_K_M", "BF16", b"GGUFQ4_K_Mchatauto"),
        ("Q4_K_M", "F16", b"GGUFQ4_K_Mchatauto"),
        ("IQ4_XS", "F32", b"GGUFIQ4_XSchatf32"),
        ("Q8_0", "F32", b"GGUFchatq8_0"),
        ("BF16", "BF16", b"GGUFchatbf16"),
    ],
)
def test_a_file_is_made_once_and_recorded(job, quant, dtype, content):
    (job.volume / "model.safetensors").write_bytes(safetensors(dtype, 20, 20))
    code, output = job.run(quant)
    made = job.volume / f"chat-{quant}.gguf"
    assert code == 0 and f"done: chat-{quant}.gguf, 0.00 GiB, was made from {SOURCE}" in output
    assert made.read_bytes().startswith(content)
    assert stat.S_IMODE(made.stat().st_mode) == 0o640
    assert job.record() == {
        made.name: {
            "quant": quant,
            "source": SOURCE,
            "size": made.stat().st_size,
            "sha256": hashlib.sha256(made.read_bytes()).hexdigest(),
        }
    }
    (job.tools / "convert_hf_to_gguf.py").unlink()
    assert job.run(quant) == (0, f"done: chat-{quant}.gguf was made already\n")


def test_another_quantisation_is_recorded_beside_the_first_and_a_damaged_file_made_anew(job):
    assert job.run("Q4_K_M")[0] == job.run("Q8_0")[0] == 0
    assert set(job.record()) == {"chat-Q4_K_M.gguf", "chat-Q8_0.gguf"}
    made = job.volume / "chat-Q8_0.gguf"
    whole = made.read_bytes()
    made.write_bytes(whole[:-1])
    code, output = job.run("Q8_0")
    assert code == 0 and "was made from" in output and made.read_bytes() == whole


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize(
    ("act", "there"), [("convert", ["chat-Q4_K_M.whole.gguf.part"]), ("quantise", ["chat-Q4_K_M.gguf.part", "chat-Q4_K_M.whole.gguf.part"])]
)
def test_a_killed_run_leaves_nothing_that_the_next_would_take_for_a_model(job, end, act, there):
    process = job.start(**{act: "slow"})
    until(lambda: job.parts() == there)
    if end == signal.SIGTERM:
        process.terminate()
        code, output = job.end(process)
        assert code == 1 and "stopped; the next run starts anew" in output
    else:
        os.killpg(process.pid, signal.SIGKILL)  # as when a container's first process is killed
        process.communicate()
        assert job.parts() == there
    assert not list(job.volume.glob("*.gguf"))
    assert job.run()[0] == 0 and len(job.record()) == 1


def test_progress_is_percent_and_time(job):
    code, output = job.run(convert="slow", quantise="slow")
    lines = output.splitlines()
    assert code == 0 and lines[-2:] == ["verifying: 0.00 GiB", lines[-1]]
    for line in lines[:-2]:
        assert re.fullmatch(r"(converting|quantising): \d+ % of about 0.00 GiB, \d s", line)
    percent = [int(line.split()[1]) for line in lines if line.startswith("converting")]
    assert percent == sorted(percent) and len(set(percent)) > 1
    assert any(line.startswith("quantising") for line in lines)


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        ({"convert": "killed"}, f"converting {SOURCE} was killed, as happens where memory runs out"),
        ({"quantise": "killed"}, f"quantising {SOURCE} was killed, as happens where memory runs out"),
        ({"quantise": "no-gguf"}, f"what was made from {SOURCE} is not a GGUF file"),
        ({"convert": "full"}, "the volume became full while chat-Q4_K_M.gguf was made: raise llm_volume_size"),
        ({"convert": "raises"}, f"converting {SOURCE} failed: NotImplementedError: BPE pre-tokenizer was not recognized; choose"),
        ({"quantise": "imatrix"}, "failed: this quantization requires an imatrix!; choose another quantisation"),
    ],
)
def test_what_another_try_would_not_mend_ends_with_2(job, act, sentence):
    code, output = job.run(**act)
    assert code == 2 and sentence in output.splitlines()[-1]
    assert sorted(path.name for path in job.volume.iterdir()) == ["config.json", "model.safetensors"]


def test_a_model_that_the_converter_does_not_know(job):
    (job.volume / "config.json").write_text('{"architectures": ["FooForCausalLM"]}')
    code, output = job.run()
    cure = "choose a repository with GGUF files, or the group tgi"
    assert code == 2
    assert output.splitlines()[-1] == f"converting {SOURCE} failed: Model FooForCausalLM is not supported; {cure}"


def test_a_repository_without_safetensors(job):
    (job.volume / "model.safetensors").unlink()
    code, output = job.run()
    assert code == 2 and f"{SOURCE} has no weights in safetensors files" in output


@pytest.mark.parametrize(
    ("quant", "dtype", "needed"), [("Q4_K_M", "BF16", 2 + 5.5 / 8), ("Q4_K_M", "F32", 4 + 5.5 / 8), ("F16", "BF16", 17.5 / 8)]
)
def test_a_full_volume_is_said_before_anything_is_made(job, quant, dtype, needed):
    (job.volume / "model.safetensors").write_bytes(safetensors(dtype, 1 << 20, 1 << 30))
    code, output = job.run(quant)
    assert code == 2 and f"but making chat-{quant}.gguf needs {needed * 2**20:.2f} GiB for a while: raise llm_volume_size" in output


def test_two_runs_do_not_write_the_same_volume(job):
    first = job.start(convert="slow")
    until(job.parts)
    process = job.start()
    output, _ = process.communicate()
    assert process.returncode == 1 and f"another run is writing to {job.volume}" in output
    first.communicate()
    assert first.returncode == 0 and not job.parts()
