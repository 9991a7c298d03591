# SPDX-License-Identifier: GPL-3.0-or-later
"""Alice's hub token is replaced while one of her downloads runs, which goes on with the new one; nothing else notices."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import BY_NAME, POD

from . import test_lifecycle
from .conftest import SANDBOX, finished

clean = test_lifecycle.clean

HOST, REPO = "alice-token", "alice/private-token-GGUF"
# Both are Alice's in tests/sandbox/hub.py.
TOKEN, NEW = "token-of-alice", "token-with-gated-read"
SIZE = 40 * 2**20
DEPLOY = "playbooks/deploy.yml"


@pytest.fixture
def own(inventory):
    """Alice's inventory of a deployment whose model is private; its token is that of the environment."""
    return inventory("alice", {HOST: {"llm_model": REPO, "llm_replicas": 0}}, llm_hf_token="")


@pytest.fixture
def rotate(start, own, tmp_path):
    """Run rotate_token.yml with a token; what it prints shows no token. Alice's own is there before and after the test."""

    def rotate(token: str, *extra: str):
        # A home without what `hf auth login` may have left in the real one.
        environment = {"HF_TOKEN": token, "HOME": str(tmp_path)}
        result = finished(start("playbooks/rotate_token.yml", SANDBOX, own, extra=("-vvv", "--diff", *extra), env=environment))
        assert not [word for word in (TOKEN, NEW) if word in result.text or base64.b64encode(word.encode()).decode()[:-4] in result.text]
        return result

    assert rotate(TOKEN).status == 0
    yield rotate
    assert rotate(TOKEN).status == 0


@pytest.fixture
def hub(environment):
    """The hub stand-in with a private model; hub.slow(rate) makes the next request for its file take time."""
    place = Path(environment["SANDBOX_STATE"], "hub", REPO)
    place.mkdir(parents=True)
    (place / "model-Q4_K_M.gguf").write_bytes(b"GGUF" + bytes(SIZE - 4))

    def slow(rate: int) -> None:
        fault = {"path": f"/{REPO}/resolve/*", "rate": rate, "times": 1}
        request = urllib.request.Request(f"{environment['HF_ENDPOINT']}/sandbox/faults", json.dumps(fault).encode(), method="POST")
        urllib.request.urlopen(request).close()

    yield slow
    shutil.rmtree(place)


@pytest.fixture
def secret(admin):
    def secret() -> dict:
        return admin.request("GET", BY_NAME["Secret"].path("llm-alice", "hf-token"))

    return secret


@pytest.fixture
def downloads(admin):
    def downloads() -> list[dict]:
        """The pods of the download."""
        return admin.request("GET", POD.path("llm-alice"), query={"labelSelector": f"selfhosted.llm/download={HOST}"})["items"]

    return downloads


@pytest.fixture
def engines(admin):
    """uid and restarts of the containers of both engineers' engines."""

    def engines() -> dict[str, list[int]]:
        return {
            pod["metadata"]["uid"]: [container["restartCount"] for container in pod["status"]["containerStatuses"]]
            for host in ("alice-chat", "bob-chat", "bob-llama")
            for pod in admin.request(
                "GET", POD.path(f"llm-{host.partition('-')[0]}"), query={"labelSelector": f"app.kubernetes.io/instance={host}"}
            )["items"]
        }

    return engines


def until(condition):
    """The first true answer within a minute."""
    end = time.monotonic() + 60
    while not (answer := condition()):
        assert time.monotonic() < end
        time.sleep(0.3)
    return answer


def report(result) -> list[str]:
    """The lines of the playbook's report."""
    return next(entry["msg"] for task, _host, entry in result.results if task.endswith("Report what was restarted"))


def test_a_download_goes_on_with_the_new_token_and_engines_do_not_notice(
    start, run, rotate, own, hub, admin, environment, clean, secret, downloads, engines
):
    clean(HOST)
    hub(2**20)
    before, served = secret(), engines()

    def running() -> list[dict]:
        return [pod for pod in downloads() if pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]]

    deploying = start(DEPLOY, SANDBOX, own, env={"HF_TOKEN": TOKEN})
    (first,) = until(running)

    def log(pod: dict) -> str:
        return admin.text(POD.path("llm-alice", pod["metadata"]["name"]) + "/log")

    until(lambda: re.search(r"downloading: [1-9]", log(first)))

    planned = rotate(NEW, "--check")
    (line,) = [line for line in report(planned) if HOST in line]
    assert line == f"{HOST}: pod {first['metadata']['name']} would be restarted, its download was started with the former token"
    assert planned.changed == {HOST} and secret() == before
    assert [pod["metadata"]["uid"] for pod in running()] == [first["metadata"]["uid"]]

    hub(3 * 2**20)
    rotated = rotate(NEW)
    assert rotated.status == 0 and line.replace("would be ", "") in report(rotated)
    assert "alice-chat: not restarted, its weights are on its volume" in report(rotated)

    (second,) = until(running)
    show = ("python3", "-c", "import os; print(os.environ['HF_TOKEN'])")
    command = ["kubectl", "exec", "-n", "llm-alice", second["metadata"]["name"], "--", *show]
    assert subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip() == NEW
    assert finished(deploying).status == 0

    whole, fetched = map(float, re.search(r"done: (\S+) GiB in place, (\S+) GiB of it fetched now", log(second)).groups())
    assert fetched < whole
    (pod,) = downloads()
    (job,) = [owner["name"] for owner in pod["metadata"]["ownerReferences"]]
    status = admin.request("GET", BY_NAME["Job"].path("llm-alice", job))["status"]
    assert (pod["metadata"]["uid"], status.get("failed", 0), status["succeeded"]) == (second["metadata"]["uid"], 0, 1)
    assert engines() == served

    again = run(DEPLOY, SANDBOX, own, env={"HF_TOKEN": NEW})
    assert (again.status, again.changed) == (0, set()), again.results
    assert f"{HOST}: not restarted, its weights are on its volume" in report(rotate(TOKEN))
    assert downloads() == [pod]


@pytest.mark.parametrize(
    ("token", "says"),
    [
        ("", "There is no token to rotate to"),
        ("nonsense", "The hub refuses the token"),
        ("token-expired", "which has expired"),
        ("token-of-bob", "The Secret llm-alice/hf-token holds a token of alice: is HF_TOKEN somebody else's?"),
    ],
)
def test_what_is_no_token_to_rotate_to_changes_nothing(rotate, secret, token, says):
    before = secret()
    result = rotate(token)
    assert result.status != 0 and says in result.message
    assert not result.changed and secret() == before


def test_the_same_token_changes_nothing(rotate, secret):
    before = secret()
    result = rotate(TOKEN)
    assert not result.changed and secret() == before
    assert report(result) == ["alice: the Secret llm-alice/hf-token holds this token already, nothing was changed"]
