# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime, timedelta

import pytest
import yaml

from ansible_collections.selfhosted.llm.plugins.modules import sks_kubeconfig

DAY = 86400


@pytest.fixture
def dest(tmp_path):
    return tmp_path / "kube/config.yml"


@pytest.fixture
def kubeconfig(exoscale, dest):
    """Run the module for Alice on the cluster llm."""
    defaults = {"cluster": "llm", "user": "alice", "groups": ["llm:alice", "readers"], "dest": str(dest)}
    return lambda check=False, **options: exoscale("sks_kubeconfig", check, **(defaults | options))


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
