# SPDX-License-Identifier: GPL-3.0-or-later
"""Alice's hub token is replaced while one of her downloads runs, which goes on with the new one; nothing else notices."""

from __future__ import annotations

import base64
import functools
import json
import re
import shutil
import subprocess
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import BY_NAME, POD

from .conftest import SANDBOX, finished, kill
from .proxy import Proxy

HOST, REPO = "alice-token", "alice/private-token-GGUF"
# Both are Alice's in tests/sandbox/hub.py.
TOKEN, NEW = "token-of-alice", "token-with-gated-read"
SIZE = 60 * 2**20
DEPLOY = "playbooks/deploy.yml"


@pytest.fixture
def own(inventory):
    """Alice's inventory of a deployment whose model is private; its token is that of the environment."""
    return inventory("alice", {HOST: {"llm_model": REPO, "llm_replicas": 0}}, llm_hf_token="")


@pytest.fixture
def rotate(start, own, tmp_path):
    """Run rotate_token.yml with a token; what it prints shows no token. Alice's own is there before and after the test."""

    def rotate(token: str, *extra: str, then=finished):
        # A home without what `hf auth login` may have left in the real one.
        environment = {"HF_TOKEN": token, "HOME": str(tmp_path)}
        result = then(start("playbooks/rotate_token.yml", SANDBOX, own, extra=("-vvv", "--diff", *extra), env=environment))
        assert not [word for word in (TOKEN, NEW) if word in result.text or base64.b64encode(word.encode()).decode()[:-4] in result.text]
        return result

    assert rotate(TOKEN).status == 0
    yield rotate
    assert rotate(TOKEN).status == 0


@pytest.fixture
def hub(environment):
    """The hub stand-in with a private model; hub.slow(rate) makes the next request for its file take time."""
    place = Path(environment["SANDBOX_STATE"], "hub", REPO)
    place.mkdir(parents=True, exist_ok=True)
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
    def downloads(phase: str) -> list[dict]:
        """The download's pods in this phase that nobody deleted."""
        query = {"labelSelector": f"selfhosted.llm/download={HOST}", "fieldSelector": f"status.phase={phase}"}
        pods = admin.request("GET", POD.path("llm-alice"), query=query)["items"]
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

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


@pytest.fixture
def log(admin):
    return lambda pod: admin.text(POD.path("llm-alice", pod["metadata"]["name"]) + "/log")


@pytest.fixture
def deploying(start, rotate, own, hub, clean, downloads, log):
    """A deployment whose slow download has begun with TOKEN; it has more than half a minute to go."""
    clean(HOST)
    hub(2**20)
    deploying = start(DEPLOY, SANDBOX, own, env={"HF_TOKEN": TOKEN})
    until(lambda: re.search(r"downloading: [1-9]", "".join(map(log, downloads("Running")))))
    return deploying


def until(condition):
    """The first true answer within two minutes: a pod's first tries may come before its network policy."""
    end = time.monotonic() + 120
    while not (answer := condition()):
        assert time.monotonic() < end
        time.sleep(0.3)
    return answer


def report(result) -> list[str]:
    """The lines of the playbook's report."""
    return next(entry["msg"] for task, _host, entry in result.results if task.endswith("Report what was restarted"))


def test_a_download_goes_on_with_the_new_token_and_engines_do_not_notice(
    deploying, run, rotate, own, hub, admin, environment, secret, downloads, log, engines
):
    before, served, (first,) = secret(), engines(), downloads("Running")

    planned = rotate(NEW, "--check")
    (line,) = [line for line in report(planned) if HOST in line]
    assert line == f"{HOST}: pod {first['metadata']['name']} would be restarted, its download was started with the former token"
    assert planned.changed == {HOST} and secret() == before
    assert [pod["metadata"]["uid"] for pod in downloads("Running")] == [first["metadata"]["uid"]]

    hub(3 * 2**20)
    rotated = rotate(NEW)
    assert rotated.status == 0 and line.replace("would be ", "") in report(rotated)
    assert "alice-chat: not restarted, its weights are on its volume" in report(rotated)

    (second,) = until(lambda: downloads("Running"))
    show = ("python3", "-c", "import os; print(os.environ['HF_TOKEN'])")
    command = ["kubectl", "exec", "-n", "llm-alice", second["metadata"]["name"], "--", *show]
    assert subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip() == NEW
    assert finished(deploying).status == 0

    (pod,) = downloads("Succeeded")
    whole, fetched = map(float, re.search(r"done: (\S+) GiB in place, (\S+) GiB of it fetched now", log(pod)).groups())
    assert fetched < whole
    # The pod that was stopped is none of the Job's failures.
    failed = [other["metadata"]["uid"] for other in downloads("Failed")]
    (job,) = [owner["name"] for owner in pod["metadata"]["ownerReferences"]]
    status = admin.request("GET", BY_NAME["Job"].path("llm-alice", job))["status"]
    assert status.get("failed", 0) == len(failed) and first["metadata"]["uid"] not in failed
    assert engines() == served

    again = run(DEPLOY, SANDBOX, own, env={"HF_TOKEN": NEW})
    assert (again.status, again.changed) == (0, set()), again.results
    assert f"{HOST}: not restarted, its weights are on its volume" in report(rotate(TOKEN))
    assert downloads("Succeeded") == [pod]


def test_killed_after_each_write_a_rotation_converges(deploying, rotate, kubeconfigs, tmp_path, downloads):
    """Each next run goes on where the one before was killed; the last one ends with nothing to do."""
    (first,), killed = downloads("Running"), []
    while True:
        with Proxy(kubeconfigs / "alice.yml", tmp_path) as proxy:

            def interrupted(process):
                proxy.after = functools.partial(kill, process.pid)
                return finished(process)

            rotate(NEW, "-e", f"llm_kubeconfig={proxy.kubeconfig}", then=interrupted)
        if not proxy.writes:
            break
        (write,) = proxy.writes
        killed.append(write.split("/")[-2])
    assert killed == ["secrets", "jobs", "jobs", "secrets"]
    assert finished(deploying).status == 0
    (pod,) = downloads("Succeeded")
    assert pod["metadata"]["uid"] != first["metadata"]["uid"]


@pytest.mark.parametrize(
    ("token", "says"),
    [
        ("", "There is no token to rotate to"),
        ("nonsense", "The hub refuses the token"),
        ("token-expired", "The token has expired"),
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


def test_when_a_token_ends_is_said_beside_it_and_no_longer_when_one_comes_that_does_not(rotate, admin):
    def ends() -> str:
        return admin.request("GET", BY_NAME["ConfigMap"].path("llm-alice", "hf-token")).get("data", {}).get("ends", "")

    assert rotate("token-expiring").status == 0
    assert datetime.fromisoformat(ends()) > datetime.now(UTC)
    assert not rotate("token-expiring").changed
    assert rotate(TOKEN).status == 0 and ends() == ""
