# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime, timedelta

import kubernetes
import pytest
import yaml

from ansible_collections.selfhosted.llm.plugins.modules import sks_kubeconfig

DAY = 86400
# An engineer's own kubeconfig, with all that a kubeconfig may have.
OWN = {
    "apiVersion": "v1",
    "kind": "Config",
    "preferences": {"colors": True},
    "extensions": [{"name": "tool", "extension": {"since": "2026-01-01T00:00:00Z"}}],
    "clusters": [
        {"name": "home", "cluster": {"server": "https://127.0.0.1:6443", "extensions": [{"name": "x"}]}},
        {"name": "llm", "cluster": {"server": "https://127.0.0.1:6444"}},
    ],
    "users": [{"name": "alice", "user": {"token": "1e5"}}, {"name": "bob", "user": {"exec": {"command": "true"}}}],
    "contexts": [
        {"name": "home", "context": {"cluster": "home", "user": "alice", "namespace": "n"}},
        {"name": "llm", "context": {"cluster": "llm", "user": "bob"}},
    ],
    "current-context": "home",
}


@pytest.fixture
def dest(tmp_path):
    return tmp_path / "kube/config.yml"


@pytest.fixture
def kubeconfig(exoscale, dest):
    """Run the module for Alice on the cluster llm."""
    defaults = {"cluster": "llm", "user": "alice", "groups": ["llm:alice", "readers"], "dest": str(dest)}
    return lambda check=False, **options: exoscale("sks_kubeconfig", check, **(defaults | options))


@pytest.fixture
def merge(kubeconfig, dest):
    """Run the module, with merge, on a file that holds OWN at first."""
    dest.parent.mkdir()
    dest.write_text(f"# mine\n{json.dumps(OWN)}")
    return lambda check=False, **options: kubeconfig(check, merge=True, **options)


@pytest.fixture
def cluster(exoscale):
    return exoscale("sks_cluster", name="llm")["cluster"]


@pytest.fixture
def later(monkeypatch):
    """Let the module believe that it runs this many seconds later."""

    def later(seconds: float) -> None:
        class Later(datetime):
            @classmethod
            def now(cls, tz=None):
                return datetime.now(tz) + timedelta(seconds=seconds)

        monkeypatch.setattr(sks_kubeconfig, "datetime", Later)

    return later


def test_a_kubeconfig_is_written_once(kubeconfig, dest, cluster):
    first = kubeconfig()
    assert first["changed"] and first["writes"] == ["generate-sks-cluster-kubeconfig"]
    left = datetime.fromisoformat(first["expires"]) - datetime.now(UTC)
    assert timedelta(days=29, hours=23) < left < timedelta(days=30, hours=1)
    assert (os.stat(dest).st_mode & 0o777, os.stat(dest.parent).st_mode & 0o777) == (0o600, 0o700)
    assert first["diff"]["before"] == {} and first["diff"]["after"]["user"] == "alice"
    text = dest.read_text()
    config = yaml.safe_load(text)
    assert config["clusters"][0]["cluster"]["server"] == cluster["endpoint"] and config["current-context"]
    again = kubeconfig(groups=["readers", "llm:alice"])
    assert not again["changed"] and again["expires"] == first["expires"] and dest.read_text() == text
    assert again["calls"] == {"list-zones": 1, "list-sks-clusters": 1}


def test_check_mode_writes_nothing(kubeconfig, dest, exoscale):
    assert kubeconfig(check=True)["changed"]  # the same run would make the cluster
    exoscale("sks_cluster", name="llm")
    planned = kubeconfig(check=True)
    assert planned["changed"] and not planned["writes"] and not dest.exists() and "expires" not in planned
    kubeconfig()
    assert not kubeconfig(check=True)["changed"]
    planned = kubeconfig(check=True, user="bob")
    assert planned["changed"] and (planned["diff"]["before"]["user"], planned["diff"]["after"]["user"]) == ("alice", "bob")


@pytest.mark.usefixtures("cluster")
def test_it_is_renewed_when_a_third_of_its_time_is_left(kubeconfig, later):
    first = kubeconfig()
    later(19 * DAY)
    assert not kubeconfig()["changed"]
    later(20 * DAY + 60)
    renewed = kubeconfig()
    assert renewed["changed"] and renewed["diff"]["before"]["expires"] == first["expires"]


@pytest.mark.usefixtures("cluster")
def test_renewal_and_time_are_the_users_choice(kubeconfig, later):
    kubeconfig(ttl=10 * DAY, renew_before=DAY)
    later(8 * DAY)
    assert not kubeconfig(ttl=10 * DAY, renew_before=DAY)["changed"]
    assert kubeconfig(ttl=10 * DAY, renew_before=3 * DAY)["changed"]
    later(0)
    assert kubeconfig(ttl=DAY)["changed"]  # one that lasts longer than it may now
    assert not kubeconfig(ttl=DAY)["changed"]


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("options", [{"user": "bob"}, {"groups": ["llm:alice"]}])
def test_another_user_or_group_is_another_kubeconfig(kubeconfig, options):
    kubeconfig()
    assert kubeconfig(**options)["changed"] and not kubeconfig(**options)["changed"]


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("damage", ["cut", "list", "server", "mode", "foreign", "text"])
def test_a_file_that_will_not_do_is_replaced(kubeconfig, dest, damage):
    kubeconfig()
    good = dest.read_text()
    config = yaml.safe_load(good)
    if damage == "server":
        config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:6443"
    if damage == "foreign":  # of another tool, so that nobody knows for which cluster it was
        del config["clusters"][0]["cluster"]["extensions"]
    texts = {"cut": good[: len(good) // 2], "list": "[]", "text": "\x00", "mode": good}
    dest.write_text(texts.get(damage) or yaml.safe_dump(config))
    if damage == "mode":
        dest.chmod(0o644)
    assert kubeconfig()["changed"] and not kubeconfig()["changed"]
    assert os.stat(dest).st_mode & 0o777 == 0o600


@pytest.mark.usefixtures("cluster")
def test_a_cluster_made_anew_has_another_kubeconfig(kubeconfig, exoscale):
    kubeconfig()
    exoscale("sks_cluster", name="llm", state="absent")
    exoscale("sks_cluster", name="llm")
    assert kubeconfig()["changed"] and not kubeconfig()["changed"]


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"cluster": "other"}, "There is no cluster other in de-fra-1"),
        ({"ttl": DAY, "renew_before": DAY}, "not between 0 and the ttl"),
        ({"ttl": 0}, "not between 0 and the ttl"),
        ({"dest": "/proc/none/config.yml"}, "cannot be written"),
        ({"dest": "/"}, "cannot be read: Is a directory"),
    ],
)
def test_a_mistake_is_a_sentence(kubeconfig, options, sentence):
    failed = kubeconfig(**options)
    assert failed["failed"] and sentence in failed["msg"]


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("value", ["", "no base64!", "bm8ga3ViZWNvbmZpZw=="])
def test_an_answer_that_is_no_kubeconfig_leaves_the_file(kubeconfig, dest, exoscale_server, value):
    kubeconfig()
    good = dest.read_text()
    exoscale_server.faults.append({"operation": "generate-*", "set": {"kubeconfig": value}})
    failed = kubeconfig(user="bob")
    assert failed["failed"] and "is no kubeconfig" in failed["msg"] and dest.read_text() == good


def test_a_missing_library_is_a_sentence(kubeconfig, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.x509", None)
    assert "pip install cryptography" in kubeconfig()["msg"]


def without(config: dict, *names: str) -> dict:
    """A kubeconfig without the clusters, users and contexts of these names."""
    lists = ("clusters", "users", "contexts")
    return config | {kind: [entry for entry in config[kind] if entry["name"] not in names] for kind in lists}


def test_merging_keeps_all_else(merge, dest, cluster):
    first = merge()
    assert first["changed"] and first["context"] == "alice@llm" and first["diff"]["before"] == {}
    text = dest.read_text()
    assert "namespace: 'n'" in text and "token: '1e5'" in text  # kubectl has other ideas of bare n and 1e5
    config = yaml.safe_load(text)
    assert without(config, "alice@llm") == OWN and os.stat(dest).st_mode & 0o777 == 0o600
    [key] = [entry["user"]["client-key-data"] for entry in config["users"] if entry["name"] == "alice@llm"]
    assert key not in str(first)
    again = merge()
    assert not again["changed"] and not again["writes"] and again["expires"] == first["expires"]
    assert dest.read_text() == text
    client = kubernetes.config.new_client_from_config(str(dest), "alice@llm").configuration
    assert client.host == cluster["endpoint"] and client.cert_file and client.key_file and client.ssl_ca_cert
    assert kubernetes.config.list_kube_config_contexts(str(dest))[1]["name"] == "home"


@pytest.mark.usefixtures("cluster")
def test_renewal_replaces_only_its_own_entries(merge, dest, later):
    first = merge()
    merge(user="bob", ttl=90 * DAY)
    before = yaml.safe_load(dest.read_text())
    later(19 * DAY)
    assert not merge()["changed"]
    later(20 * DAY + 60)
    renewed, after = merge(), yaml.safe_load(dest.read_text())
    assert renewed["changed"] and renewed["diff"]["before"]["expires"] == first["expires"]
    assert without(after, "alice@llm") == without(before, "alice@llm") and after["users"] != before["users"]
    assert len(after["users"]) == len(before["users"]) == 4
    later(0)
    assert not merge()["changed"] and not merge(user="bob", ttl=90 * DAY)["changed"]


@pytest.mark.usefixtures("cluster")
def test_a_context_that_is_called_like_another_takes_its_place(merge, dest):
    assert merge(context="llm")["context"] == "llm"
    config = yaml.safe_load(dest.read_text())
    assert without(config, "llm") == without(OWN, "llm") and config["contexts"][-1]["context"]["user"] == "llm"
    assert not merge(context="llm")["changed"]
    config["contexts"][-1]["context"]["user"] = "bob"
    dest.write_text(yaml.safe_dump(config))
    assert merge(context="llm")["changed"] and not merge(context="llm")["changed"]


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("content", [None, "", "# none\n", "{kind: Config, users: null, current-context: ''}"])
def test_merging_into_nothing_is_the_file_itself(merge, kubeconfig, dest, content):
    dest.unlink()
    if content is not None:
        dest.write_text(content)
    assert merge()["changed"] and yaml.safe_load(dest.read_text())["current-context"] == "alice@llm"
    assert not merge()["changed"] and not kubeconfig()["changed"]
    kubernetes.config.new_client_from_config(str(dest))


@pytest.mark.usefixtures("cluster")
def test_check_mode_merges_nothing(merge, dest):
    text = dest.read_text()
    planned = merge(check=True)
    assert planned["changed"] and not planned["writes"] and dest.read_text() == text and "expires" not in planned
    merge()
    assert not merge(check=True)["changed"]


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    "content",
    ["[]", "text", "\x00", "kind: Pod", "kind: [", "a: b"]
    + ["{kind: Config, users: 5}", "{kind: Config, users: [a]}", "{kind: Config, users: [{}]}"],
)
@pytest.mark.parametrize("check", [False, True])
def test_nothing_is_merged_into_what_is_no_kubeconfig(merge, kubeconfig, dest, content, check):
    dest.write_text(content)
    failed = merge(check)
    assert failed["failed"] and f"{dest} is no kubeconfig" in failed["msg"] and not failed["writes"]
    assert dest.read_text() == content
    assert kubeconfig()["changed"] and not kubeconfig()["changed"]


@pytest.mark.usefixtures("cluster")
def test_a_file_of_its_own_has_nothing_else(merge, kubeconfig, dest):
    merge()
    assert kubeconfig()["changed"] and not kubeconfig()["changed"]
    assert [entry["name"] for entry in yaml.safe_load(dest.read_text())["users"]] == ["alice@llm"]


@pytest.mark.usefixtures("cluster")
def test_a_link_to_the_users_file_stays_one(merge, dest, tmp_path):
    real = dest.rename(tmp_path / "real.yml")
    dest.symlink_to(real)
    assert merge()["changed"] and dest.is_symlink() and without(yaml.safe_load(real.read_text()), "alice@llm") == OWN
