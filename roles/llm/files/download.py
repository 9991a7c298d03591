# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a model's files to the volume. The download Job runs this with Python >= 3.9 and huggingface_hub >= 0.25.

Environment: LLM_REPO, LLM_COMMIT, LLM_FILES (JSON list of {"path", "size" in bytes, "sha256" or null}), LLM_DIRECTORY
(on the volume), HF_ENDPOINT, HF_TOKEN (may be missing), LLM_EVERY (seconds between lines of progress, 5).

A file keeps the suffix .part until its size and sha256 are right; an interrupted one goes on where it stopped, less at
most 10 MiB. What was verified is recorded in .verified.json, and neither fetched nor read again.

Prints lines such as "downloading: 42 % of 4.58 GiB, 96 MiB/s, 28 s left". The last line, also in the container's
termination message, says how it ended. Exit codes: 0 all files in place, 1 worth another try, 2 not without a change.
"""
import errno
import fcntl
import hashlib
import json
import os
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

AGAIN, NEVER = 1, 2
TERMINATION_LOG = Path(os.environ.get("LLM_TERMINATION_LOG", "/dev/termination-log"))
REPO, COMMIT, FILES = os.environ["LLM_REPO"], os.environ["LLM_COMMIT"], json.loads(os.environ["LLM_FILES"])
DIRECTORY, TOKEN = Path(os.environ["LLM_DIRECTORY"]), os.environ.get("HF_TOKEN", "").strip()
RECORD, TOTAL = DIRECTORY / ".verified.json", sum(file["size"] for file in FILES)
verified, recording, printing = {}, threading.Lock(), threading.RLock()


class Failure(Exception):
    """The end of this run: exit code and sentence."""


def main() -> str:
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    try:
        fcntl.flock(os.open(DIRECTORY, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)  # until this process ends
    except BlockingIOError:
        raise Failure(AGAIN, f"another download is writing to {DIRECTORY}") from None
    if RECORD.exists():
        verified.update(json.loads(RECORD.read_text()))
    wanted = [file for file in FILES if not is_verified(file)]
    missing, free = TOTAL - on_disk(), shutil.disk_usage(DIRECTORY).free
    if missing > free:
        raise Failure(NEVER, f"the volume has {gib(free)} free, but {REPO} needs {gib(missing)}: raise llm_volume_size")
    threading.Thread(target=report, args=(TOTAL - missing, time.monotonic()), daemon=True).start()
    with ThreadPoolExecutor(4) as pool:
        for future in as_completed([pool.submit(bring, file) for file in wanted]):
            if future.exception():
                finish(*ending(future.exception()))  # at once: what the other threads have stays on the volume
    return f"done: {gib(TOTAL)} in place, {gib(missing)} of it fetched now"


def bring(file: dict) -> None:
    """Fetch a file, or the rest of it, and verify it."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get  # hf_hub_download never resumes what another process began

    target = part = DIRECTORY / file["path"]
    if size_of(target) != file["size"]:  # else a run ended before it could record the file
        part = partial(file)
        part.parent.mkdir(parents=True, exist_ok=True)
        headers = {"user-agent": "selfhosted.llm", "accept-encoding": "identity"}
        headers.update({"authorization": f"Bearer {TOKEN}"} if TOKEN else {})
        url = hf_hub_url(REPO, file["path"], revision=COMMIT, endpoint=os.environ.get("HF_ENDPOINT"))
        with part.open("ab" if size_of(part) <= file["size"] else "wb") as stream:
            http_get(url, stream, resume_size=stream.tell(), headers=headers, expected_size=file["size"])
    digest = hashlib.sha256()
    with part.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    if file["sha256"] not in (None, digest.hexdigest()):
        part.unlink()
        raise Failure(AGAIN, f"{file['path']} arrived with a wrong sha256 ({digest.hexdigest()}) and was removed")
    part.replace(target)
    with recording:
        verified[file["path"]] = {"size": file["size"], "sha256": digest.hexdigest()}
        RECORD.with_suffix(".new").write_text(json.dumps(verified, indent=1))
        RECORD.with_suffix(".new").replace(RECORD)


def is_verified(file: dict) -> bool:
    known = verified.get(file["path"], {"size": None})
    same = file["size"] == known["size"] == size_of(DIRECTORY / file["path"])
    return same and file["sha256"] in (None, known["sha256"])


def report(before: int, start: float) -> None:
    """Print progress, as the volume shows it."""
    while True:
        time.sleep(float(os.environ.get("LLM_EVERY", 5)))
        done = on_disk()
        rate = (done - before) / (time.monotonic() - start)
        left = f"{(TOTAL - done) / rate:.0f} s left" if rate > 0 else "waiting for the hub"
        stage = "downloading" if done < TOTAL else "verifying"
        with printing:
            print(f"{stage}: {100 * done // TOTAL} % of {gib(TOTAL)}, {rate / 2**20:.0f} MiB/s, {left}", flush=True)


def ending(error: BaseException) -> tuple:
    """Exit code and sentence for whatever went wrong."""
    from huggingface_hub import utils

    if isinstance(error, Failure):
        return error.args
    if getattr(error, "errno", None) == errno.ENOSPC:
        return NEVER, f"the volume is full: {REPO} needs {gib(TOTAL)}; raise llm_volume_size"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, utils.GatedRepoError) or status == 403:
        said = error.response.headers.get("X-Error-Message") or f"HTTP {status}"
        return NEVER, f"the token of this namespace does not open {REPO}: {said}"
    if isinstance(error, (utils.RepositoryNotFoundError, utils.RevisionNotFoundError, utils.EntryNotFoundError)):
        return NEVER, f"the hub does not show {REPO} at {COMMIT} with these files: run the playbook again"
    if status == 401:
        return NEVER, "the hub refuses the token of this namespace: set another llm_hf_token and run the playbook again"
    return AGAIN, f"{REPO} could not be fetched: {' '.join(str(error).split()) or type(error).__name__}"


def partial(file: dict) -> Path:
    return DIRECTORY / f"{file['path']}.part"


def on_disk() -> int:
    return sum(min(file["size"], size_of(DIRECTORY / file["path"]) or size_of(partial(file))) for file in FILES)


def size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"


def finish(code: int, sentence: str) -> None:
    printing.acquire()  # for good: nothing comes after the last line
    sentence = sentence.replace(TOKEN or "\0", "(the token)")[:1000]
    print(sentence, flush=True)
    if TERMINATION_LOG.exists():
        TERMINATION_LOG.write_text(sentence)
    os._exit(code)


if __name__ == "__main__":
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.umask(0o027)  # the volume's group may read
    signal.signal(signal.SIGTERM, lambda *_: finish(AGAIN, "stopped; the next run goes on from here"))
    try:
        finish(0, main())
    except BaseException as error:
        finish(*ending(error))
