# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a model's files to the volume. The download Job runs this with Python >= 3.9 and huggingface_hub >= 0.25.

Environment: LLM_REPO, LLM_COMMIT, LLM_FILES (JSON list of {"path", "size" in bytes, "sha256", "git_sha1"}, the last, git's
blob id, and sha256 null where unknown), LLM_VOLUME (its root, /models), LLM_DIRECTORY (<root>/<org>/<repo>/<commit>),
LLM_KEEP (how the <org>/<repo>/<commit> that is served now begins), LLM_RESERVE (bytes to be free beside the files, 0),
HF_ENDPOINT, HF_TOKEN (may be missing), LLM_EVERY (seconds between progress lines, 5), LLM_WAIT (seconds before a first
new try, 2).

A file keeps the suffix .part until its size and hashes are right; an interrupted one goes on, less at most 1 MiB. What
was verified is recorded in .verified.json, and neither fetched nor read again. Where room is missing, the oldest other
revisions go, save those that somebody holds with flock, as this program holds its own.

Prints lines such as "downloading: 42 % of 4.58 GiB, 96 MiB/s, 28 s left". The last line, also the termination message,
says how it ended. Exit codes: 0 all files in place, 1 worth another try, 2 not without a change.
"""
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from urllib.parse import quote

AGAIN, NEVER = 1, 2
FIRST, TRIES = float(os.environ.get("LLM_WAIT", 2)), 7  # doubled each time, two minutes in all
LONGEST = 300  # seconds that the hub may ask to wait
BLOCK = 1 << 20
TERMINATION_LOG = Path(os.environ.get("LLM_TERMINATION_LOG", "/dev/termination-log"))
REPO, COMMIT, FILES = os.environ["LLM_REPO"], os.environ["LLM_COMMIT"], json.loads(os.environ["LLM_FILES"])
VOLUME, DIRECTORY = Path(os.environ.get("LLM_VOLUME", "/models")), Path(os.environ["LLM_DIRECTORY"])
KEEP, RESERVE = os.environ.get("LLM_KEEP", ""), int(os.environ.get("LLM_RESERVE", 0))
TOKEN = os.environ.get("HF_TOKEN", "").strip()
RECORD, TOTAL = DIRECTORY / ".verified.json", sum(file["size"] for file in FILES)
verified, waits, recording, printing = {}, {}, threading.Lock(), threading.RLock()


class Failure(Exception):
    """The end of this run: exit code and sentence."""


def main() -> str:
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    if not lock(DIRECTORY):
        raise Failure(AGAIN, f"another download is writing to {DIRECTORY}")
    if RECORD.exists():
        verified.update(json.loads(RECORD.read_text()))
    wanted = [file for file in FILES if not is_verified(file)]
    missing = TOTAL - on_disk()
    make_room(missing + RESERVE if missing else 0)  # a GGUF file is made when all arrived, with the room it then had
    threading.Thread(target=report, args=(TOTAL - missing, time.monotonic()), daemon=True).start()
    with ThreadPoolExecutor(4) as pool:
        for future in as_completed([pool.submit(bring, file) for file in wanted]):
            if future.exception():
                finish(*ending(future.exception()))  # at once: what the others have stays on the volume
    return f"done: {gib(TOTAL)} in place, {gib(missing)} of it fetched now"


def make_room(needed: int) -> None:
    """Have so many bytes free. Nothing is removed in vain."""
    volume = shutil.disk_usage(VOLUME)
    if needed <= volume.free:
        return
    others = []
    for place in VOLUME.glob("*/*/*"):
        name = place.relative_to(VOLUME).as_posix()
        served = place == DIRECTORY or KEEP and name.startswith(KEEP)
        real = place.is_dir() and place.resolve() == VOLUME.resolve() / name  # no link leads there
        if real and not served and re.fullmatch("[0-9a-f]{40}", place.name) and lock(place):
            record = place / RECORD.name
            written = (record if record.exists() else place).stat().st_mtime
            others.append((written, sum(path.lstat().st_size for path in place.rglob("*")), place))
    room = volume.free + sum(size for _written, size, _place in others)
    if needed > room:
        old = ", old revisions included" if others else ""
        gguf = f", {gib(RESERVE)} of it to make a GGUF file" if RESERVE else ""
        raise Failure(NEVER, f"the volume has {gib(room)} free{old}, but {REPO} needs {gib(needed)}{gguf}: "
                      f"raise llm_volume_size to at least {gib(volume.total + needed - room)}")
    for _written, size, place in sorted(others):
        if needed > shutil.disk_usage(VOLUME).free:
            shutil.rmtree(place)
            say(f"removed {place.relative_to(VOLUME)}, which nothing serves: {gib(size)}")


def bring(file: dict) -> None:
    """Have a file in place and verified. Wrong bytes are fetched anew once."""
    target = DIRECTORY / file["path"]
    for last in (False, True):
        part = target
        if not target.exists() or size_of(target) != file["size"]:  # else a run ended before recording it
            part = partial(file)
            fetch(file, part)
        found = examine(file, part)
        wrong = [f"{name} {value}" for name, value in found.items() if file.get(name) not in (None, value)]
        if not wrong:
            break
        part.unlink()
        if last:
            raise Failure(AGAIN, f"{file['path']} arrived with a wrong {wrong[0]} and was removed")
    part.replace(target)
    with recording:
        verified[file["path"]] = found
        new = RECORD.with_suffix(".new")
        new.write_text(json.dumps(verified, indent=1))
        new.replace(RECORD)


def fetch(file: dict, part: Path) -> None:
    """Fetch a file, or the rest of it; TRIES times without a new byte, if that may help."""
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("ab" if size_of(part) <= file["size"] else "wb") as stream:
        tries = 0
        while (there := stream.tell()) < file["size"]:
            try:
                receive(file, stream)
            except Exception as error:
                tries = 1 if stream.tell() > there else tries + 1
                code, sentence = ending(error)
                asked = answer(error)[1].get("Retry-After", "")
                seconds = int(asked) if asked.isdigit() else FIRST * 2 ** (tries - 1)
                wait = f"the hub asks to wait {asked} s" if asked.isdigit() else f"trying again in {seconds:g} s"
                if code == NEVER or tries == TRIES:
                    raise
                if seconds > LONGEST:
                    raise Failure(AGAIN, f"{sentence}; {wait}") from None
                say(f"{sentence}; {wait}")
                waits[part] = wait
                time.sleep(seconds)
                del waits[part]


def receive(file: dict, stream) -> None:
    """Append what one connection brings. (The library's http_get tries again, but in no two versions alike.)"""
    from huggingface_hub import constants, utils

    there, session = stream.tell(), utils.get_session()
    headers = {"user-agent": "selfhosted.llm", "accept-encoding": "identity"}
    if TOKEN:
        headers["authorization"] = f"Bearer {TOKEN}"  # not sent on where the hub redirects to another server
    if there:
        headers["range"] = f"bytes={there}-"
    url = f"{constants.ENDPOINT}/{REPO}/resolve/{COMMIT}/{quote(file['path'])}"
    options = {"headers": headers, "timeout": constants.HF_HUB_DOWNLOAD_TIMEOUT}
    httpx = callable(session.stream)  # since huggingface_hub 1.0; requests before
    with session.stream("GET", url, **options) if httpx else session.get(url, stream=True, **options) as response:
        utils.hf_raise_for_status(response)
        if there and response.status_code == 200:  # the whole file in spite of the range
            stream.seek(0)
            stream.truncate()
        for block in (response.iter_bytes if httpx else response.iter_content)(BLOCK):
            stream.write(block)
    if stream.tell() < file["size"]:  # urllib3 before 2 takes a lost connection for the end
        raise ConnectionError("the connection was lost")


def examine(file: dict, place: Path) -> dict:
    """Size and hashes of what was fetched."""
    hashes = {"sha256": hashlib.sha256()}
    if file.get("git_sha1"):
        hashes["git_sha1"] = hashlib.sha1(b"blob %d\0" % file["size"])
    with place.open("rb") as stream:
        while block := stream.read(BLOCK):
            for value in hashes.values():
                value.update(block)
    return {"size": size_of(place), **{name: value.hexdigest() for name, value in hashes.items()}}


def is_verified(file: dict) -> bool:
    known = verified.get(file["path"], {})
    same = all(file.get(name) in (None, known.get(name)) for name in ("size", "sha256", "git_sha1"))
    return same and file["size"] == size_of(DIRECTORY / file["path"])


def report(before: int, start: float) -> None:
    """Print progress, as the volume shows it."""
    while True:
        time.sleep(float(os.environ.get("LLM_EVERY", 5)))
        done = on_disk()
        rate = (done - before) / (time.monotonic() - start)
        left = f"{(TOTAL - done) / rate:.0f} s left" if rate > 0 else "waiting for the hub"
        now = f"{100 * done // TOTAL} % of {gib(TOTAL)}, {rate / 2**20:.0f} MiB/s, {[*waits.values(), left][0]}"
        say(f"downloading: {now}" if done < TOTAL else f"verifying {gib(TOTAL)}")


def ending(error: BaseException) -> tuple:
    """Exit code and sentence for whatever went wrong."""
    if isinstance(error, Failure):
        return error.args
    if getattr(error, "errno", None) == errno.ENOSPC:
        return NEVER, f"the volume is full: {REPO} needs {gib(TOTAL + RESERVE)}; raise llm_volume_size"
    status, headers = answer(error)
    said = ": ".join(filter(None, (f"HTTP {status}", headers.get("X-Error-Message"))))
    if status == 401 and not TOKEN:
        return NEVER, f"the hub shows {REPO} to nobody without a token ({said}): set llm_hf_token and run the playbook again"
    if status == 401 and "X-Error-Code" not in headers:
        return NEVER, f"the hub refuses the token of this namespace ({said}): set another llm_hf_token and run the playbook again"
    if status in (401, 403):
        return NEVER, f"the token of this namespace does not open {REPO}: {said}"
    if status == 404:
        return NEVER, f"the hub does not show {REPO} at {COMMIT} with these files ({said}): run the playbook again"
    return AGAIN, f"{REPO} could not be fetched: {' '.join(str(error).split()) or type(error).__name__}"


def answer(error: BaseException) -> tuple:
    """Status and headers of the hub's answer, None and {} without one."""
    response = getattr(error, "response", None)
    return (None, {}) if response is None else (response.status_code, response.headers)


def lock(directory: Path) -> bool:
    """Whether a revision is now our own."""
    try:
        fcntl.flock(os.open(directory, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def partial(file: dict) -> Path:
    return DIRECTORY / f"{file['path']}.part"


def on_disk() -> int:
    return sum(min(file["size"], size_of(DIRECTORY / file["path"]) or size_of(partial(file))) for file in FILES)


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # or moved since by another thread
        return 0


def gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"


def say(line: str) -> str:
    line = line.replace(TOKEN or "\0", "(the token)")[:1000]
    with printing:
        print(line, flush=True)
    return line


def finish(code: int, sentence: str) -> None:
    printing.acquire()  # for good: nothing comes after the last line
    sentence = say(sentence)
    if TERMINATION_LOG.exists():
        TERMINATION_LOG.write_text(sentence)
    os._exit(code)


if __name__ == "__main__":
    os.umask(0o027)  # the volume's group may read
    signal.signal(signal.SIGTERM, lambda *_: finish(AGAIN, "stopped; the next run goes on from here"))
    try:
        finish(0, main())
    except BaseException as error:
        finish(*ending(error))
