# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user sees: stages with elapsed time, logs of what runs below, and one sentence when something fails."""
from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

TICK = 5  # seconds without a line before a running stage says that it still runs
TAIL = 15  # lines of a log shown with a failure

_start = time.monotonic()
_last = _start
_active: dict[int, tuple[bool, str, float]] = {}
_mutex = threading.Lock()


class SandboxError(Exception):
    """A failure told as a sentence: what is wrong, where, and the cure."""


def say(text: str) -> None:
    """Print one line with the time since the start, `[ 3m12s] text`."""
    global _last
    with _mutex:
        _last = time.monotonic()
        minutes, seconds = divmod(int(_last - _start), 60)
        print(f"[{minutes:2}m{seconds:02}s] {text}", flush=True)


@contextlib.contextmanager
def stage(text: str, quiet: bool = False) -> Iterator[None]:
    """Announce a stage, keep saying that it runs, and tell its duration (`quiet`: only the last, if above 1 s).

    Quiet stages are said to run only where no other does: they wait for those, or are short.
    """
    begin = time.monotonic()
    if not quiet:
        say(f"{text} ...")
    with _mutex:
        key = max(_active, default=0) + 1
        _active[key] = (quiet, text, begin)
    try:
        yield
        if not quiet or time.monotonic() - begin > 1:
            say(f"{text}: {time.monotonic() - begin:.1f} s")
    finally:
        with _mutex:
            del _active[key]


def _tick() -> None:
    while True:
        time.sleep(1)
        with _mutex:
            stages = [stage for stage in _active.values() if not stage[0]] or list(_active.values())
        if stages and time.monotonic() - _last >= TICK:
            say("still " + ", ".join(f"{text} ({time.monotonic() - begin:.0f} s)" for _quiet, text, begin in stages))


threading.Thread(target=_tick, daemon=True).start()


def run(argv: Sequence[str | Path], log: Path, stdin=None, cwd: Path | None = None,
        env: dict[str, str] | None = None) -> None:
    """Run `argv` with its output appended to `log`; SandboxError with the log's tail when it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        out.write(f"+ {' '.join(map(str, argv))}\n".encode())
        out.flush()
        try:
            code = subprocess.run(argv, stdin=stdin or subprocess.DEVNULL, stdout=out, stderr=out, cwd=cwd,
                                  env=env).returncode
        except FileNotFoundError as error:
            raise SandboxError(f"The command {argv[0]} is missing on this machine.") from error
    if code:
        fail(f"{Path(argv[0]).name} ended with exit code {code}", log)


def fail(sentence: str, log: Path) -> None:
    """Raise SandboxError: `sentence`, the log's name and its last lines."""
    tail = log.read_text(errors="replace").splitlines()[-TAIL:] if log.exists() else []
    raise SandboxError("\n".join([f"{sentence}; the end of {log}:", *("    " + line for line in tail)]))


def output(argv: Sequence[str | Path], cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Standard output of a short command; SandboxError with its standard error when it fails."""
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=cwd, env=env)
    except FileNotFoundError as error:
        raise SandboxError(f"The command {argv[0]} is missing on this machine.") from error
    if done.returncode:
        raise SandboxError(f"{' '.join(map(str, argv))} failed: {done.stderr.strip()}")
    return done.stdout
