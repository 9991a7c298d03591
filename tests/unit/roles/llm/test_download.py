# SPDX-License-Identifier: GPL-3.0-or-later
"""The program of the download Job, run as the Job runs it, against the hub stand-in."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[4] / "roles/llm/files/download.py"
# In tests/unit/conftest.py
GGUF, GATED = "org/chat-GGUF", "meta-llama/Llama-3.1-8B-Instruct"
MIB = 1 << 20


class Job:
    """One download Job after another, with the same volume."""

    def __init__(self, server, commit_of, tmp_path):
        self.server, self.commit_of, self.tmp_path = server, commit_of, tmp_path
        self.volume, self.message = tmp_path / "volume", tmp_path / "termination-log"
        self.message.touch()

    def place(self, repo=GGUF) -> Path:
        """The directory on the volume for a repository."""
        return self.volume / repo / self.commit_of(self.server.tree.files(repo))

    def start(self, repo=GGUF, token="token-of-alice", sizes=None, paths=None, every="0.05") -> subprocess.Popen:
        files = self.server.tree.files(repo)
        listed = [
            {"path": path, "size": (sizes or {}).get(path, file.size), "sha256": file.sha256 if file.lfs else None}
            for path, file in files.items()
            if paths is None or path in paths
        ]
        environment = {
            "PATH": os.environ["PATH"],
            "HF_HOME": str(self.tmp_path / "home"),
            "HF_ENDPOINT": self.server.url,
            "HF_TOKEN": token,
            "LLM_REPO": repo,
            "LLM_COMMIT": self.commit_of(files),
            "LLM_FILES": json.dumps(listed),
            "LLM_DIRECTORY": str(self.place(repo)),
            "LLM_EVERY": every,
            "LLM_TERMINATION_LOG": str(self.message),
        }
        command = [sys.executable, "-c", PROGRAM.read_text()]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def end(self, process) -> tuple[int, str]:
        """Exit code and output. The last line is the termination message; no token is in it."""
        output, _ = process.communicate(timeout=30)
        assert self.message.read_text() == output.splitlines()[-1]
        assert "token-" not in output and "Traceback" not in output
        return process.returncode, output

    def run(self, **options) -> tuple[int, str]:
        return self.end(self.start(**options))

    def bytes(self, repo=GGUF) -> int:
        return self.server.calls()["repositories"].get(repo, {"bytes": 0})["bytes"]

    def assert_complete(self, repo=GGUF):
        for path, file in self.server.tree.files(repo).items():
            assert (self.place(repo) / path).read_bytes() == file.place.read_bytes()
        assert not list(self.volume.rglob("*.part"))


@pytest.fixture
def job(hub_server, hub_module, tmp_path):
    return Job(hub_server, hub_module.commit_of, tmp_path)


@pytest.fixture
def large(hub_server):
    """A file that takes several chunks of the client's 10 MiB."""
    place = hub_server.tree.root / GGUF / "large.gguf"
    place.write_bytes(os.urandom(MIB) * 13)
    return place


def until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("repo", [GGUF, GATED])
def test_all_files_arrive_and_a_second_run_asks_for_nothing(job, repo):
    code, output = job.run(repo=repo)
    assert code == 0 and "done: " in output
    job.assert_complete(repo)
    assert job.bytes(repo) == sum(file.size for file in job.server.tree.files(repo).values())
    first = next(path for path in job.place(repo).rglob("*.*") if path.is_file())
    assert stat.S_IMODE(first.stat().st_mode) == 0o640 and stat.S_IMODE(first.parent.stat().st_mode) == 0o750

    job.server.forget()
    code, output = job.run(repo=repo)
    assert code == 0 and output == "done: 0.00 GiB in place, 0.00 GiB of it fetched now\n"
    assert job.server.calls() == {"routes": {}, "repositories": {}}


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_is_continued(job, large, end):
    job.server.faults.append({"path": "*/large.gguf", "times": 1, "rate": 60 * MIB})
    process = job.start(paths=["large.gguf"])
    part = job.place() / "large.gguf.part"
    until(lambda: part.exists() and part.stat().st_size)
    process.send_signal(end)
    output, _ = process.communicate()
    assert process.returncode == (1 if end == signal.SIGTERM else -signal.SIGKILL)
    assert ("stopped; the next run goes on" in output) == (end == signal.SIGTERM)
    there = part.stat().st_size
    assert 0 < there < 13 * MIB and not part.with_suffix("").exists()

    time.sleep(0.1)  # what the server had already sent to nobody
    before = job.bytes()
    code, output = job.run(paths=["large.gguf"])
    assert code == 0 and part.with_suffix("").read_bytes() == large.read_bytes()
    assert job.bytes() - before == 13 * MIB - there


def test_progress_is_percent_rate_and_time_left(job, large):
    job.server.faults.append({"rate": 60 * MIB})
    code, output = job.run(paths=["large.gguf"])
    assert code == 0
    lines = [line for line in output.splitlines() if line.startswith("downloading: ")]
    assert len(lines) > 2
    for line in lines:
        assert re.fullmatch(r"downloading: \d+ % of 0.01 GiB, \d+ MiB/s, (\d+ s left|waiting for the hub)", line)
    assert lines[-1].endswith(" s left")


def test_wrong_bytes_are_removed_and_the_next_run_fetches_them_again(job):
    job.server.faults.append({"path": "*/chat-f16.gguf", "times": 1, "corrupt": True})
    code, output = job.run()
    assert code == 1 and "F16/chat-f16.gguf arrived with a wrong sha256" in output
    assert not list(job.volume.rglob("chat-f16*"))
    assert job.run()[0] == 0
    job.assert_complete()


def test_what_was_never_recorded_is_verified_and_fetched_only_where_it_is_wrong(job):
    shutil.copytree(job.server.tree.root / GGUF, job.place())
    good, wrong = job.place() / "F16/chat-f16.gguf", job.place() / "chat-Q4_K_M.gguf"
    wrong.write_bytes(bytes(wrong.stat().st_size))
    assert job.run()[0] == 1 and job.server.calls()["routes"] == {}
    assert not wrong.exists() and good.exists()
    assert job.run()[0] == 0 and job.bytes() == wrong.stat().st_size
    job.assert_complete()

    wrong.write_bytes(b"short")  # recorded, but changed since
    assert job.run()[0] == 0
    job.assert_complete()


def test_a_full_volume_is_said_before_anything_is_fetched(job):
    code, output = job.run(sizes={"chat-f16.gguf": 0, "chat-Q4_K_M.gguf": 1 << 60})
    assert code == 2 and "needs 1073741824.00 GiB: raise llm_volume_size" in output
    assert job.server.calls()["routes"] == {}


@pytest.mark.parametrize(
    ("token", "repo", "cure"),
    [
        ("token-without-licence", GATED, f"Visit https://huggingface.co/{GATED}"),
        ("token-expired", GGUF, "refuses the token"),
        ("token-of-bob", "alice/private-model", "does not show"),
    ],
)
def test_what_another_try_would_not_mend_ends_with_2(job, token, repo, cure):
    code, output = job.run(repo=repo, token=token)
    assert code == 2 and cure in output


def test_a_hub_that_fails_is_worth_another_try(job):
    job.server.faults.append({"status": 500})
    code, output = job.run()
    assert code == 1 and f"{GGUF} could not be fetched: " in output and "500" in output


def test_two_runs_do_not_write_the_same_volume(job, large):
    job.server.faults.append({"path": "*/large.gguf", "delay": 0.4})
    first = job.start(paths=["large.gguf"], every="9")
    until((job.place() / "large.gguf.part").exists)
    code, output = job.run(paths=["large.gguf"])
    assert code == 1 and "another download is writing" in output
    first.communicate()
    assert first.returncode == 0
