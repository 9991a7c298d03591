# SPDX-License-Identifier: GPL-3.0-or-later
"""The program of the download Job, run as the Job runs it, against the hub stand-in."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[4] / "roles/llm/files/download.py"
# In tests/unit/conftest.py
GGUF, GATED = "org/chat-GGUF", "meta-llama/Llama-3.1-8B-Instruct"
MIB = 1 << 20
# Put before the program: it is killed where it is about to do what the pattern says, such as "open /a/path r".
KILLED_AT = """
import os, re, signal, sys
def see(event, arguments):
    done = " ".join(map(str, [event, *arguments])) if event in ("open", "os.rename") else ""
    if re.match({!r}, done):
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(see)
"""
# A volume of so many bytes, where the files in it take what they have.
VOLUME_OF = """
import pathlib, shutil
def disk_usage(volume):
    used = sum(file.stat().st_size for file in pathlib.Path(volume).rglob("*") if file.is_file())
    return type(usage("/"))({0}, used, {0} - used)
usage, shutil.disk_usage = shutil.disk_usage, disk_usage
"""


class Job:
    """One download Job after another, with the same volume."""

    def __init__(self, server, commit_of, tmp_path):
        self.server, self.commit_of, self.tmp_path = server, commit_of, tmp_path
        self.volume, self.message = tmp_path / "volume", tmp_path / "termination-log"
        self.message.touch()
        self.started = []
        self.threads = set(threading.enumerate())

    def place(self, repo=GGUF) -> Path:
        """The directory on the volume for a repository."""
        files = self.server.tree.files(repo)
        return self.volume / repo / (self.commit_of(files) if files else "0" * 40)

    def start(self, repo=GGUF, token="token-of-alice", paths=None, before="", **variables) -> subprocess.Popen:
        """Start it for some paths of a repository. Code may come before the program; variables are more environment."""
        files = self.server.tree.files(repo) or {}
        listed = [
            {"path": path, "size": file.size, "sha256": file.sha256 if file.lfs else None, "git_sha1": None if file.lfs else file.oid}
            for path, file in files.items()
            if paths is None or path in paths
        ]
        environment = {
            "PATH": os.environ["PATH"],
            "HF_HOME": str(self.tmp_path / "home"),
            "HF_ENDPOINT": self.server.url,
            "HF_TOKEN": token,
            "LLM_REPO": repo,
            "LLM_COMMIT": self.place(repo).name,
            "LLM_FILES": json.dumps(listed),
            "LLM_VOLUME": str(self.volume),
            "LLM_DIRECTORY": str(self.place(repo)),
            "LLM_EVERY": "0.05",
            "LLM_WAIT": "0.01",
            "LLM_TERMINATION_LOG": str(self.message),
        } | variables
        command = [sys.executable, "-c", before + PROGRAM.read_text()]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.started.append(process)
        return process

    def end(self, process) -> tuple[int, str]:
        """Exit code and output. The last line is the termination message; no token is in it."""
        output, _ = process.communicate(timeout=30)
        assert self.message.read_text() == output.splitlines()[-1]
        assert "token-" not in output and "Traceback" not in output
        return process.returncode, output

    def run(self, **options) -> tuple[int, str]:
        return self.end(self.start(**options))

    def killed_at(self, pattern) -> None:
        """Run it until it is about to do what the pattern says."""
        process = self.start(before=KILLED_AT.format(pattern))
        output, _ = process.communicate(timeout=30)
        assert process.returncode == -signal.SIGKILL, output

    def waiting(self, **options) -> subprocess.Popen:
        """Run it until it waits for another try."""
        process = self.start(LLM_WAIT="99", LLM_EVERY="99", **options)
        assert "; trying again in 99 s" in process.stdout.readline()
        return process

    def bytes(self, repo=GGUF) -> int:
        """What the hub has sent, counted when no connection is left that might still send."""
        until(lambda: not any("process_request" in thread.name for thread in {*threading.enumerate()} - self.threads))
        return self.server.calls()["repositories"].get(repo, {"bytes": 0})["bytes"]

    def size(self, repo=GGUF) -> int:
        return sum(file.size for file in self.server.tree.files(repo).values())

    def assert_complete(self, repo=GGUF):
        for path, file in self.server.tree.files(repo).items():
            assert (self.place(repo) / path).read_bytes() == file.place.read_bytes()
        assert not list(self.volume.rglob("*.part"))


@pytest.fixture
def job(hub_server, hub_module, tmp_path):
    job = Job(hub_server, hub_module.commit_of, tmp_path)
    yield job
    for process in job.started:
        process.kill()


@pytest.fixture
def large(hub_server):
    """A file of many of the program's blocks of 1 MiB."""
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
    (job.server.tree.root / repo / "empty.txt").touch()
    code, output = job.run(repo=repo)
    assert code == 0 and "done: " in output
    job.assert_complete(repo)
    assert job.bytes(repo) == job.size(repo)
    first = next(path for path in job.place(repo).rglob("*.*") if path.is_file())
    assert stat.S_IMODE(first.stat().st_mode) == 0o640 and stat.S_IMODE(first.parent.stat().st_mode) == 0o750
    files = job.server.tree.files(repo)
    record = json.loads((job.place(repo) / ".verified.json").read_text())
    assert {path: known["sha256"] for path, known in record.items()} == {path: file.sha256 for path, file in files.items()}

    job.server.forget()
    code, output = job.run(repo=repo)
    assert code == 0 and output.endswith("done: 0.00 GiB in place, 0.00 GiB of it fetched now\n")
    assert job.server.calls() == {"routes": {}, "repositories": {}}


def test_a_killed_run_is_continued(job, large):
    job.server.faults.append({"rate": 5 * MIB})
    part = job.place() / "large.gguf.part"
    arrived = 0
    for end in (signal.SIGKILL, signal.SIGTERM):
        process = job.start(paths=["large.gguf"])
        until(lambda there=arrived: part.exists() and part.stat().st_size > there)
        process.send_signal(end)
        output, _ = process.communicate()
        assert process.returncode == (1 if end == signal.SIGTERM else -signal.SIGKILL)
        assert ("stopped; the next run goes on" in output) == (end == signal.SIGTERM)
        arrived = part.stat().st_size
        assert arrived < 13 * MIB and not part.with_suffix("").exists()

    before = job.bytes()
    job.server.faults.clear()
    assert job.run(paths=["large.gguf"])[0] == 0 and part.with_suffix("").read_bytes() == large.read_bytes()
    assert job.bytes() - before == 13 * MIB - arrived


def test_killed_at_ten_points_it_ends_right(job, large):
    """Each run goes on from where the one before was killed."""
    assert job.run(paths=set(job.server.tree.files(GGUF)) - {"large.gguf"})[0] == 0
    others = job.bytes()
    assert others == job.size() - 13 * MIB

    part = job.place() / "large.gguf.part"
    job.killed_at(r"open \S+/large.gguf.part a ")  # before the first byte
    arrived = twice = 0
    for sent in (MIB // 2, 3 * MIB, 5 * MIB // 2, MIB + 1, 4 * MIB):
        job.server.faults[:] = [{"path": "*/large.gguf", "times": 1, "truncate": sent}]
        process = job.waiting()
        process.kill()  # with what came
        process.communicate()
        lost = arrived + sent - part.stat().st_size  # what did not fill a block
        assert 0 <= lost < MIB
        arrived, twice = part.stat().st_size, twice + lost
    assert job.bytes() == others + arrived + twice

    job.killed_at(r"open \S+/large.gguf.part r ")  # all is there, but not verified
    job.killed_at(r"os.rename \S+/large.gguf.part ")  # verified, but not in place
    job.killed_at(r"open \S+/.verified.new w ")  # in place, but not recorded
    job.killed_at(r"os.rename \S+/.verified.new ")  # the record is written, but not in place
    assert part.with_suffix("").exists()
    code, output = job.run()
    assert code == 0 and output.endswith("done: 0.01 GiB in place, 0.00 GiB of it fetched now\n")
    job.assert_complete()
    assert job.bytes() == job.size() + twice


def test_progress_is_percent_rate_and_time_left(job, large):
    job.server.faults.append({"rate": 5 * MIB})
    for line in job.start(paths=["large.gguf"]).stdout:
        assert re.fullmatch(r"downloading: \d+ % of 0.01 GiB, \d+ MiB/s, (\d+ s left|waiting for the hub)\n", line)
        if line.endswith("s left\n"):
            break
    else:
        pytest.fail("no time left was said")


WRONG = [("F16/chat-f16.gguf", "sha256"), ("README.md", "git_sha1")]


def test_wrong_bytes_are_fetched_anew(job):
    job.server.faults += [{"path": f"*/{path}", "times": 1, "corrupt": True} for path, _ in WRONG]
    assert job.run()[0] == 0
    job.assert_complete()
    assert job.bytes() == job.size() + sum(job.server.tree.files(GGUF)[path].size for path, _ in WRONG)


@pytest.mark.parametrize(("path", "wrong"), WRONG)
def test_bytes_that_are_wrong_again_are_removed(job, path, wrong):
    job.server.faults.append({"path": f"*/{path}", "corrupt": True})
    code, output = job.run(paths=[path])
    assert code == 1 and re.search(rf"{path} arrived with a wrong {wrong} \w+ and was removed\n$", output)
    assert not [place for place in job.volume.rglob("*") if place.is_file()]
    assert job.bytes() == 2 * job.server.tree.files(GGUF)[path].size


def test_what_was_never_recorded_is_verified_and_fetched_only_where_it_is_wrong(job):
    shutil.copytree(job.server.tree.root / GGUF, job.place())
    wrong = job.place() / "chat-Q4_K_M.gguf"
    wrong.write_bytes(bytes(wrong.stat().st_size))
    assert job.run()[0] == 0 and job.bytes() == wrong.stat().st_size
    job.assert_complete()

    wrong.write_bytes(b"short")  # recorded, but changed since
    assert job.run()[0] == 0
    job.assert_complete()


def test_where_the_hub_knows_no_hash_only_the_size_counts(job):
    job.server.faults.append({"path": "*/README.md", "corrupt": True})
    plain = {"path": "README.md", "size": 7, "sha256": None}
    assert job.run(LLM_FILES=json.dumps([plain]))[0] == 0
    assert job.run(LLM_FILES=json.dumps([plain | {"size": 6}]))[0] == 1


@pytest.mark.parametrize(
    ("repo", "token", "cure"),
    [
        (GATED, "", "to nobody without a token (HTTP 401: Access to model"),
        (GATED, "token-unknown", "refuses the token of this namespace (HTTP 401: Invalid credentials in Authorization header)"),
        (GGUF, "token-expired", 'refuses the token of this namespace (HTTP 401: User Access Token "sandbox" is expired)'),
        (GATED, "token-without-licence", f"does not open {GATED}: HTTP 403: Access to model {GATED} is restricted"),
        (GATED, "token-awaiting-review", f"does not open {GATED}: HTTP 403: Your request to access model {GATED} is awaiting"),
        (GATED, "token-without-gated-read", f"does not open {GATED}: HTTP 403: Please enable access to public gated repositories"),
        ("alice/private-model", "token-of-bob", "does not show alice/private-model at"),
    ],
)
def test_what_another_try_would_not_mend_ends_with_2(job, repo, token, cure):
    code, output = job.run(repo=repo, token=token)
    assert code == 2 and cure in output and "trying again" not in output


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ({"LLM_REPO": "no/such"}, "(HTTP 404: Repository not found)"),
        ({"LLM_COMMIT": "0" * 40}, f"(HTTP 404: Invalid rev id: {'0' * 40})"),
        ({"LLM_FILES": '[{"path": "gone.gguf", "size": 9, "sha256": null}]'}, "(HTTP 404: Entry not found)"),
    ],
)
def test_what_the_hub_has_no_more_ends_with_2(job, missing, said):
    code, output = job.run(**missing)
    assert code == 2 and f"with these files {said}: run the playbook again" in output


def test_what_passes_is_waited_out(job):
    job.server.faults += [
        {"path": "*/README.md", "times": 1, "delay": 1.5},
        {"path": "*/chat-Q8_0-00001*", "times": 1, "status": 429, "retry_after": 1},
        {"path": "*/chat-Q8_0-00002*", "times": 2, "status": 503},
        {"path": "*/chat-f16.gguf", "times": 1, "truncate": 100},
        {"path": "*/chat-Q4_K_M.gguf", "times": 1, "reset": 500_000},
    ]
    code, output = job.run(HF_HUB_DOWNLOAD_TIMEOUT="1")
    assert code == 0
    job.assert_complete()
    assert not any(fault["times"] for fault in job.server.faults)  # each has struck
    assert re.search(r"^org/chat-GGUF could not be fetched: .*503.*; trying again in 0.01 s$", output, re.MULTILINE)
    assert re.search(r"429.*; the hub asks to wait 1 s$", output, re.MULTILINE)
    assert re.search(r"^downloading: .* MiB/s, the hub asks to wait 1 s$", output, re.MULTILINE)


def test_the_hub_may_ask_for_five_minutes_at_most(job):
    job.server.faults.append({"status": 429, "retry_after": 301})
    code, output = job.run()
    assert code == 1 and output.endswith("; the hub asks to wait 301 s\n")


def test_a_hub_that_fails_is_worth_another_try(job):
    job.server.faults.append({"status": 500})
    code, output = job.run(paths=["README.md"], LLM_WAIT="0.001")
    assert code == 1 and output.count("; trying again in ") == 6
    assert re.fullmatch(rf"{GGUF} could not be fetched: .*The sandbox was told to answer 500", output.splitlines()[-1])


def test_the_token_stays_with_the_hub(job, hub_module):
    """The hub's storage is another server. Here that one would refuse the token."""
    storage = hub_module.Hub(("127.0.0.1", 0), job.server.tree.root)
    threading.Thread(target=storage.serve_forever, args=(0.01,), daemon=True).start()
    job.server.faults.append({"redirect": storage.url})
    assert job.run(token="token-expired")[0] == 0
    job.assert_complete()
    assert job.bytes() == 0 and storage.calls()["repositories"][GGUF]["bytes"] == job.size()
    storage.shutdown()
    storage.server_close()


def test_two_runs_do_not_write_the_same_volume(job):
    job.server.faults.append({"path": "*/README.md", "times": 1, "status": 503})
    job.waiting(paths=["README.md"])
    code, output = job.run(paths=["README.md"])
    assert code == 1 and "another download is writing" in output


@pytest.fixture
def revisions(job):
    """Revisions of 1 MiB on the volume by name, the oldest first, beside what only looks like one."""
    places = {}
    for age, name in enumerate(["written", "served", "old", "middle", "young"]):
        places[name] = job.volume / f"org/{name}" / name.encode().hex().ljust(40, "0")
        places[name].mkdir(parents=True)
        (places[name] / "model.gguf").write_bytes(bytes(MIB))
        dated = places[name] if name == "old" else places[name] / ".verified.json"  # its download never ended
        dated.touch()
        os.utime(dated, (age, age))
    for place in (job.volume / "org/old/notes", job.volume / "lost+found" / ("a" * 40), job.tmp_path / "elsewhere/repo" / ("b" * 40)):
        place.mkdir(parents=True)
        (place / "kept").touch()
    (job.volume / "linked").symlink_to(job.tmp_path / "elsewhere")
    (job.volume / "org/old" / ("c" * 40)).symlink_to(job.tmp_path / "elsewhere")
    return places


def test_room_is_made_of_the_oldest_revisions_that_nothing_serves(job, revisions):
    lock = os.open(revisions["written"], os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    kept = list(job.tmp_path.rglob("kept"))
    options = {"before": VOLUME_OF.format(11 * MIB // 2), "LLM_KEEP": f"org/served/{revisions['served'].name[:7]}"}

    code, output = job.run(LLM_RESERVE=str(10 * MIB), **options)
    assert code == 2 and output == (
        f"the volume has 0.00 GiB free, old revisions included, but {GGUF} needs 0.01 GiB, 0.01 GiB of it to make a GGUF "
        "file: raise llm_volume_size to at least 0.01 GiB\n")
    assert all(place.exists() for place in revisions.values())

    code, output = job.run(LLM_RESERVE=str(MIB), **options)
    assert code == 0
    job.assert_complete()
    names = [revisions[name].relative_to(job.volume) for name in ("old", "middle")]
    removed = [line for line in output.splitlines() if line.startswith("removed")]
    assert removed == [f"removed {name}, which nothing serves: 0.00 GiB" for name in names]
    assert [name for name, place in revisions.items() if place.exists()] == ["written", "served", "young"]
    assert len(kept) == 3 and all(place.exists() for place in kept)
    os.close(lock)


def test_a_full_volume_is_said_before_anything_is_fetched(job):
    code, output = job.run(before=VOLUME_OF.format(MIB // 2))
    assert code == 2 and output == f"the volume has 0.00 GiB free, but {GGUF} needs 0.00 GiB: raise llm_volume_size to at least 0.00 GiB\n"
    assert job.server.calls()["routes"] == {}
