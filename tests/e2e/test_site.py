# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job: what `make demo` does, and what must hold after it. The tests build on each other, in this order."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import urllib.request

import pytest

from .conftest import ALL, REPOSITORY, SANDBOX
from .proxy import Proxy

HOSTS = {"llm-frankfurt", "alice-chat", "bob-chat", "bob-llama"}


def test_the_demo(environment):
    """Everything from the bare machine on, and the second run changes nothing: the demo's own exit status says so."""
    demo = subprocess.run([environment["VIRTUAL_ENV"] + "/bin/python", "tests/demo.py"], cwd=REPOSITORY, capture_output=True, text=True)
    assert demo.returncode == 0, demo.stdout[-3000:]
    recap = re.findall(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)", demo.stdout, re.MULTILINE)
    assert dict(recap[-len(HOSTS) :]) == dict.fromkeys(HOSTS, "0")
    for host in HOSTS - {"llm-frankfurt"}:
        assert re.search(rf"^{host} .* ready ", demo.stdout, re.MULTILINE), host


def test_status_prints_the_table_alone(run):
    result = run("playbooks/status.yml", "inventories/bob", SANDBOX)
    assert result.status == 0
    ((_task, _host, table),) = [entry for entry in result.results if "deployments" in entry[2]]
    chat, llama = table["deployments"]
    assert chat["state"] == llama["state"] == "ready"
    assert float(chat["tokens/s"]) > 0 and float(llama["tokens/s"]) > 0


def test_a_second_run_leaves_every_object_as_it_was(run, objects):
    before = objects("llm-alice"), objects("llm-bob")
    result = run("site.yml", *ALL)
    assert result.status == 0 and not result.changed
    assert (objects("llm-alice"), objects("llm-bob")) == before


def test_check_mode_before_anything_exists_says_what_would_be_made_and_writes_nothing(run, exoscale_server, tmp_path):
    """Another account at Exoscale without a cluster, and a machine without kubeconfigs."""
    env = {"EXOSCALE_API_ENDPOINT": exoscale_server.url, "SANDBOX_STATE": str(tmp_path)}
    result = run("site.yml", *ALL, extra=("--check", "--diff"), env=env)
    assert result.status == 0, result.message
    assert result.changed == HOSTS
    made = {diff["after_header"] for diff in result.diffs if diff["after"] and not diff["before"]}
    assert {"Deployment llm-alice/alice-chat", "Namespace /llm-bob", "DaemonSet nvidia/device-plugin-llm"} <= made
    assert not [name for name in exoscale_server.calls if not name.startswith(("list-", "get-"))]
    assert not list(tmp_path.rglob("*.yml"))


def test_check_mode_after_a_run_says_that_nothing_changes(run, objects, environment):
    before = objects("llm-alice"), objects("llm-bob")
    result = run("site.yml", *ALL, extra=("--check", "--diff"))
    assert result.status == 0 and not result.changed
    assert (objects("llm-alice"), objects("llm-bob")) == before


def test_check_mode_writes_nothing(run, tmp_path, kubeconfigs):
    with Proxy(kubeconfigs / "alice.yml", tmp_path) as proxy:
        extra = ("--check", "--diff", "-e", f"llm_kubeconfig={proxy.kubeconfig}")
        result = run("site.yml", "inventories/alice", SANDBOX, extra=extra)
    assert result.status == 0 and not result.changed
    assert proxy.writes == []


def test_one_edited_variable_changes_one_host(run, objects, tmp_path):
    """In check mode the diff is exact, and names only what the variable reaches."""
    before = objects("llm-alice"), objects("llm-bob")
    shutil.copytree(REPOSITORY / "inventories/bob", tmp_path / "bob")
    hosts = tmp_path / "bob/hosts.yml"
    hosts.write_text(hosts.read_text().replace("llm_context: 2048", "llm_context: 1024"))
    result = run("site.yml", "inventories/alice", tmp_path / "bob", SANDBOX, extra=("--check", "--diff"))
    assert result.changed == {"bob-chat"}
    (diff,) = result.diffs
    assert diff["after_header"] == "Deployment llm-bob/bob-chat"
    (edited,) = set(diff["after"].splitlines()) - set(diff["before"].splitlines())
    assert edited.split() == ["-", "'4096'"]  # of four slots together
    assert (objects("llm-alice"), objects("llm-bob")) == before


def test_an_engineer_needs_only_their_own_inventory_and_kubeconfig(run, tmp_path):
    env = {name: "" for name in os.environ if name.startswith("EXOSCALE")} | {"KUBECONFIG": str(tmp_path / "none")}
    result = run("site.yml", "inventories/alice", SANDBOX, env=env)
    assert result.status == 0 and not result.changed
    assert set(result.stats) == {"alice-chat"}


def test_engineers_cannot_reach_each_other(kubeconfigs):
    def may(engineer: str, verb: str, what: str, namespace: str) -> bool:
        kubectl = ["kubectl", "--kubeconfig", kubeconfigs / f"{engineer}.yml", "auth", "can-i", verb, what, "-n", namespace]
        return subprocess.run(kubectl, capture_output=True).returncode == 0

    assert may("alice", "get", "secrets", "llm-alice")
    assert not may("alice", "get", "secrets", "llm-bob")
    assert not may("bob", "create", "pods/portforward", "llm-alice")
    assert not may("alice", "create", "namespaces", "default")


def test_connect_serves_an_openai_client(start, environment, kubeconfigs):
    """The env file, and an answer through the forwarded port with the unchanged client."""
    extra, env = ("-e", "llm_connect_seconds=60"), {"ANSIBLE_STDOUT_CALLBACK": "default"}
    process = start("playbooks/connect.yml", "inventories/alice", SANDBOX, extra=extra, env=env)
    try:
        for line in process.stdout:
            if "serving at" in line:
                break
        else:
            pytest.fail("connect ended")
        file = kubeconfigs.parent / "connect/alice-chat.env"
        assert file.stat().st_mode & 0o777 == 0o600
        values = dict(word.split("=", 1) for word in shlex.split(file.read_text()) if "=" in word)
        client = (
            "import os, openai; c = openai.OpenAI().chat.completions.create(model=os.environ['OPENAI_MODEL'], "
            "max_tokens=8, messages=[{'role': 'user', 'content': 'Say hello.'}]); print(c.choices[0].message.content)"
        )
        answer = subprocess.run(
            [environment["VIRTUAL_ENV"] + "/bin/python", "-c", client], env=environment | values, capture_output=True, text=True
        )
        assert answer.returncode == 0 and answer.stdout.strip(), answer.stderr
        request = urllib.request.Request(values["OPENAI_BASE_URL"] + "/chat/completions", b"{}", {"Authorization": "Bearer wrong"})
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(request)
    finally:
        process.kill()
        process.wait()
