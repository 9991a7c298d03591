# SPDX-License-Identifier: GPL-3.0-or-later
"""Make a GGUF file of a model's safetensors on the volume, once. Runs with Python >= 3.9 in llama.cpp's image `full`.

Environment: LLM_DIRECTORY (of the repository, on the volume), LLM_SOURCE (org/repo@commit), LLM_QUANT (a type of
llama-quantize, such as Q4_K_M), LLM_OUTPUT (file name in LLM_DIRECTORY, ends in .gguf), LLM_CONVERTER (directory of
convert_hf_to_gguf.py and llama-quantize, /app), LLM_EVERY (seconds between lines of progress, 5).

What was made is recorded in .converted.json: {file name: {"quant", "source", "size" in bytes, "sha256"}}, and never made
again. Unfinished files end in .gguf.part; none outlives the run, or, where that was killed, the start of the next.

Prints lines such as "converting: 42 % of about 14.96 GiB, 95 s". The last line, also in the container's termination
message, says how it ended. Exit codes: 0 the file is in place, 1 worth another try, 2 not without a change.
"""
import errno
import fcntl
import hashlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

AGAIN, NEVER = 1, 2
TERMINATION_LOG = Path(os.environ.get("LLM_TERMINATION_LOG", "/dev/termination-log"))
DIRECTORY, SOURCE, QUANT = Path(os.environ["LLM_DIRECTORY"]), os.environ["LLM_SOURCE"], os.environ["LLM_QUANT"]
OUTPUT, CONVERTER = DIRECTORY / os.environ["LLM_OUTPUT"], Path(os.environ.get("LLM_CONVERTER", "/app"))
PART, WHOLE = OUTPUT.with_suffix(".gguf.part"), OUTPUT.with_suffix(".whole.gguf.part")  # WHOLE: not quantised yet
RECORD = DIRECTORY / ".converted.json"
OTHERWISE = "choose a repository with GGUF files, or the group tgi"


class Failure(Exception):
    """The end of this run: exit code and sentence."""


def main() -> str:
    try:
        fcntl.flock(os.open(DIRECTORY, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)  # until this process ends
    except BlockingIOError:
        raise Failure(AGAIN, f"another run is writing to {DIRECTORY}") from None
    remove_parts()
    made = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    if OUTPUT.exists() and OUTPUT.stat().st_size == made.get(OUTPUT.name, {}).get("size"):
        return f"done: {OUTPUT.name} was made already"
    try:
        make()
        size = PART.stat().st_size
        made[OUTPUT.name] = {"quant": QUANT, "source": SOURCE, "size": size, "sha256": sha256(PART)}
        PART.replace(OUTPUT)
        RECORD.with_suffix(".new").write_text(json.dumps(made, indent=1))
        RECORD.with_suffix(".new").replace(RECORD)
    finally:
        remove_parts()
    return f"done: {OUTPUT.name}, {gib(size)}, was made from {SOURCE}"


def make() -> None:
    """Write PART: by the converter alone where that can, else through WHOLE."""
    weights, kind = tensors()
    whole = weights * (4 if kind == "F32" else 2)
    # The bits in a type's name are those of a weight; scales, and some tensors in a better type, add 1.5 at most.
    result = int(weights * (int(re.search(r"\d+", QUANT)[0]) + 1.5) / 8)
    direct = QUANT in ("F32", "F16", "BF16", "Q8_0")
    needed, free = result if direct else whole + result, shutil.disk_usage(DIRECTORY).free
    if needed > free:
        raise Failure(NEVER, f"the volume has {gib(free)} free, but making {OUTPUT.name} needs {gib(needed)} for a while: "
                             "raise llm_volume_size")
    name = SOURCE.split("@")[0].split("/")[1]  # else the model would be named after the directory, a commit
    convert = ["python3", CONVERTER / "convert_hf_to_gguf.py", DIRECTORY, "--model-name", name]
    if direct:
        run("converting", PART, result, *convert, "--outtype", QUANT.lower(), "--outfile", PART)
    else:
        # auto keeps bfloat16 and float16 as they are; of float32 it would make float16, whose range is smaller.
        run("converting", WHOLE, whole, *convert, "--outtype", "f32" if kind == "F32" else "auto", "--outfile", WHOLE)
        run("quantising", PART, result, CONVERTER / "llama-quantize", WHOLE, PART, QUANT)
    with PART.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise Failure(NEVER, f"what was made from {SOURCE} is not a GGUF file: {OTHERWISE}")


def tensors() -> tuple:
    """Number of weights, and the type that most of them have, by the headers of the safetensors files."""
    kinds = Counter()
    for path in DIRECTORY.glob("*.safetensors"):
        with path.open("rb") as stream:
            header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        for tensor in header.values():
            if "dtype" in tensor:  # __metadata__ has none
                kinds[tensor["dtype"]] += math.prod(tensor["shape"])
    if not kinds:
        raise Failure(NEVER, f"{SOURCE} has no weights in safetensors files: {OTHERWISE}")
    return sum(kinds.values()), kinds.most_common(1)[0][0]


def run(stage: str, target: Path, size: int, *command: object) -> None:
    """Run a tool that writes `target`, of about `size` bytes, and print its progress, as the volume shows it."""
    start, every = time.monotonic(), float(os.environ.get("LLM_EVERY", 5))
    with tempfile.TemporaryFile() as output:
        tool = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                env={**os.environ, "HF_HUB_OFFLINE": "1"})
        try:
            while tool.returncode is None:
                try:
                    tool.wait(every)
                except subprocess.TimeoutExpired:
                    percent = min(99, 100 * target.stat().st_size // size) if target.exists() else 0
                    print(f"{stage}: {percent} % of about {gib(size)}, {time.monotonic() - start:.0f} s", flush=True)
        finally:
            tool.kill()  # does nothing where it has ended
            tool.wait()
        output.seek(0)
        text = output.read().decode(errors="replace")
    if tool.returncode == -signal.SIGKILL:
        raise Failure(NEVER, f"{stage} {SOURCE} was killed, as happens where memory runs out: raise the limit in "
                             "llama_cpp_convert_resources")
    if tool.returncode and ("No space left" in text or shutil.disk_usage(DIRECTORY).free < 1 << 20):
        raise OSError(errno.ENOSPC, text)
    if tool.returncode:
        cure = OTHERWISE if stage == "converting" else "choose another quantisation"
        raise Failure(NEVER, f"{stage} {SOURCE} failed: {reason(text)}; {cure}")


def reason(text: str) -> str:
    """What a tool's output says why it failed: its error, its exception, or its last line."""
    causes = re.findall(r"(?:^ERROR:[^:]*:|llama_model_quantize: failed to quantize: |^(?=[\w.]+Error\b))(.+)", text, re.MULTILINE)
    return (causes or text.strip().splitlines() or ["it did not say why"])[-1].strip()


def sha256(path: Path) -> str:
    print(f"verifying: {gib(path.stat().st_size)}", flush=True)
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def remove_parts() -> None:
    for path in DIRECTORY.glob("*.gguf.part"):
        path.unlink()


def ending(error: BaseException) -> tuple:
    """Exit code and sentence for whatever went wrong."""
    if isinstance(error, Failure):
        return error.args
    if getattr(error, "errno", None) == errno.ENOSPC:
        return NEVER, f"the volume became full while {OUTPUT.name} was made: raise llm_volume_size"
    return AGAIN, f"{SOURCE} could not be converted: {' '.join(str(error).split()) or type(error).__name__}"


def gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"


def stop(*_) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what is open is being closed
    raise Failure(AGAIN, "stopped; the next run starts anew")


def finish(code: int, sentence: str) -> None:
    sentence = sentence[:1000]
    print(sentence, flush=True)
    if TERMINATION_LOG.exists():
        TERMINATION_LOG.write_text(sentence)
    os._exit(code)


if __name__ == "__main__":
    os.umask(0o027)  # the volume's group may read
    signal.signal(signal.SIGTERM, stop)
    try:
        finish(0, main())
    except BaseException as error:
        finish(*ending(error))
