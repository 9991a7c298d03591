# SPDX-License-Identifier: GPL-3.0-or-later
"""The client does the same on both transports, down to the requests that Exoscale sees."""

from __future__ import annotations

import os
import subprocess
from types import SimpleNamespace

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale import transports
from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.client import Exoscale
from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.errors import ExoscaleError

ZONE = "de-fra-1"
CLUSTER = {"name": "llm", "level": "starter", "version": "1.34.4"}
TAINTS = {"nodepool": {"value": "llm", "effect": "NoSchedule"}}
SECRET = "secret-of-the-sandbox"


@pytest.fixture(autouse=True)
def quiet_machine(transport, fast, tmp_path, monkeypatch):
    """Nothing is configured on this machine, and exo is on PATH only for its own turn."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)


@pytest.fixture
def api(exoscale_server, transport):
    """A client of the stand-in, on the transport whose turn it is."""
    api = Exoscale(ZONE, timeout=60)
    assert isinstance(api._transport, {"exo": transports.Exo, "library": transports.Library}[transport])
    return api


@pytest.fixture
def pool(api):
    """A node pool: the ids of its cluster and its own, as the API's path names them."""
    api.write("create-sks-cluster", CLUSTER)
    cluster = api.call("list-sks-clusters")["sks-clusters"][0]["id"]
    types = api.call("list-instance-types")["instance-types"]
    small = next(entry["id"] for entry in types if (entry["family"], entry["size"]) == ("gpu3", "small"))
    body = {"name": "gpu", "size": 1, "disk-size": 50, "instance-type": {"id": small}, "labels": {"a": "b"}}
    api.write("create-sks-nodepool", body, id=cluster)
    return {"id": cluster, "sks_nodepool_id": api.call("get-sks-cluster", id=cluster)["nodepools"][0]["id"]}


def test_a_write_is_followed_to_its_end(api, exoscale_server):
    api.write("create-sks-cluster", CLUSTER)
    (cluster,) = api.call("list-sks-clusters")["sks-clusters"]
    assert (cluster["name"], cluster["state"]) == ("llm", "running")
    operations = ("list-zones", "create-sks-cluster", "get-operation", "list-sks-clusters")
    assert exoscale_server.calls == dict.fromkeys(operations, 1)


@pytest.mark.parametrize(
    ("body", "field", "value"),
    [
        ({"labels": {}}, "labels", {}),
        ({"labels": {"grüße": 'say "hi"\n$HOME {x}'}}, "labels", {"grüße": 'say "hi"\n$HOME {x}'}),
        ({"description": "-z --server"}, "description", "-z --server"),
        ({"kubelet-max-pods": None}, "kubelet-max-pods", None),
        ({"disk-size": 400}, "disk-size", 400),
        ({"taints": TAINTS}, "taints", TAINTS),
    ],
)
def test_a_body_arrives_as_it_was_given(api, pool, body, field, value):
    api.write("update-sks-nodepool", body, **pool)
    assert api.call("get-sks-nodepool", **pool).get(field) == value


def test_a_write_without_a_body(api, pool):
    api.write("upgrade-sks-cluster-service-level", id=pool["id"])
    assert api.call("get-sks-cluster", id=pool["id"])["level"] == "pro"
    api.write("delete-sks-nodepool", **pool)
    assert api.call("get-sks-cluster", id=pool["id"])["nodepools"] == []


def test_a_kubeconfig_is_asked_for(api, pool):
    asked = {"user": "alice", "groups": ["llm:alice"], "ttl": 3600}
    assert api.call("generate-sks-cluster-kubeconfig", asked, id=pool["id"])["kubeconfig"]


@pytest.mark.parametrize(
    ("fault", "sentence", "transient"),
    [
        ({"status": 400, "message": "size: no"}, "refuses scale-sks-nodepool in de-fra-1 (HTTP 400: size: no)", False),
        ({"status": 401, "message": "who?"}, "(HTTP 401: who?). It was asked with EXOSCALE_API_KEY and EXOSCALE_API_SECRET", False),
        ({"status": 403, "message": "Forbidden"}, "does the IAM role of that key allow it?", False),
        ({"status": 403, "message": "Quota exceeded for gpu3"}, "support to raise that quota", False),
        ({"status": 404, "message": "Not Found"}, "gone", True),
        ({"status": 409, "message": "busy"}, "Something else changes it", True),
        ({"status": 429, "message": "slow down"}, "(HTTP 429: slow down)", True),
        ({"status": 500, "message": 'a "quoted"\nline'}, 'a "quoted"\nline', True),
        ({"status": 503, "message": ""}, "Try again later", True),
        ({"drop": "before"}, "gave no answer to scale-sks-nodepool", True),
        ({"drop": "after"}, "gave no answer to scale-sks-nodepool", True),
        ({"ends": "failure", "at_once": True, "reason": "fault", "message": "no host"}, "state failure (fault, no host)", False),
        ({"ends": "failure", "reason": "busy"}, "state failure (busy)", False),
        ({"ends": "timeout"}, "state timeout (no reason given)", False),
        ({"ends": "never"}, "still goes on at Exoscale after 60 s", False),
        ({"set": {"state": "unheard-of"}}, "state unheard-of", False),
        ({"remove": ["state"]}, "lacks the field state", False),
    ],
    ids=str,
)
def test_a_write_is_sent_once_and_what_is_wrong_is_a_sentence(api, pool, exoscale_server, fault, sentence, transient):
    exoscale_server.faults.append({"operation": "scale-sks-nodepool"} | fault)
    with pytest.raises(ExoscaleError) as error:
        api.write("scale-sks-nodepool", {"size": 2}, **pool)
    assert sentence in str(error.value) and error.value.transient is transient
    assert exoscale_server.calls["scale-sks-nodepool"] == 1
    exoscale_server.heal()
    took_effect = fault.get("drop") == "after" or {"set", "remove"} & fault.keys() or fault.get("ends") == "never"
    assert api.call("get-sks-nodepool", **pool)["size"] == (2 if took_effect else 1)


@pytest.mark.parametrize("fault", [{"status": 429}, {"status": 502}, {"drop": "before"}], ids=str)
def test_a_read_is_repeated(api, exoscale_server, fault):
    exoscale_server.faults.append({"operation": "list-sks-clusters", "times": 3} | fault)
    assert api.call("list-sks-clusters") == {"sks-clusters": []}
    assert exoscale_server.calls["list-sks-clusters"] == 4
    exoscale_server.faults.append({"operation": "list-sks-clusters"} | fault)
    with pytest.raises(ExoscaleError) as error:
        api.call("list-sks-clusters")
    assert error.value.transient and exoscale_server.calls["list-sks-clusters"] == 8


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_read_that_is_refused_is_not(api, exoscale_server, status):
    exoscale_server.faults.append({"operation": "list-sks-clusters", "status": status})
    with pytest.raises(ExoscaleError):
        api.call("list-sks-clusters")
    assert exoscale_server.calls["list-sks-clusters"] == 1


def test_an_answer_that_takes_too_long_is_none(api, exoscale_server, transport, monkeypatch):
    monkeypatch.setattr(transports, "TIMEOUT", 0.5)
    api = Exoscale(ZONE)
    exoscale_server.faults.append({"operation": "create-sks-cluster", "delay": 1})
    with pytest.raises(ExoscaleError, match="gave no answer to create-sks-cluster") as error:
        api.write("create-sks-cluster", CLUSTER)
    assert error.value.transient


def test_an_operation_that_the_transport_does_not_know(api, transport):
    with pytest.raises(ExoscaleError) as error:
        api.call("list-unheard-of")
    assert "does not know the operation list-unheard-of" in str(error.value) and not error.value.transient


def test_each_zone_has_its_own_address(api, pool):
    assert Exoscale("ch-gva-2").call("list-sks-clusters") == {"sks-clusters": []}
    with pytest.raises(ExoscaleError, match="no zone de-fra-9; it has at-vie-1, .*, de-fra-1, "):
        Exoscale("de-fra-9")


def test_an_address_where_nobody_is(exoscale_server, monkeypatch):
    monkeypatch.setenv("EXOSCALE_API_ENDPOINT", "http://127.0.0.1:1/v2")
    with pytest.raises(ExoscaleError, match="http://127.0.0.1:1/v2 gave no answer to list-zones .*EXOSCALE_API_ENDPOINT"):
        Exoscale(ZONE)


def test_credentials_come_from_exos_configuration_too(exoscale_server, tmp_path, monkeypatch):
    monkeypatch.delenv("EXOSCALE_API_KEY")
    monkeypatch.delenv("EXOSCALE_API_SECRET")
    with pytest.raises(ExoscaleError, match="There are no credentials"):
        Exoscale(ZONE)
    folder = tmp_path / ".config/exoscale"
    folder.mkdir(parents=True)
    account = '[[accounts]]\nname = "{0}"\nkey = "{1}"\nsecret = "{2}"\ndefaultZone = "ch-gva-2"\n'
    (folder / "exoscale.toml").write_text(
        'defaultAccount = "old"\n' + account.format("old", "EXOold", "gone") + account.format("work", "EXOsandbox", SECRET)
    )
    with pytest.raises(ExoscaleError, match="asked with the account old in "):
        Exoscale(ZONE).call("list-sks-clusters")
    monkeypatch.setenv("EXOSCALE_ACCOUNT", "work")
    assert Exoscale(ZONE).call("list-sks-clusters") == {"sks-clusters": []}


@pytest.mark.parametrize(("key", "secret"), [("EXOother", SECRET), ("EXOsandbox", "wrong-secret")])
def test_wrong_credentials_are_a_sentence_without_them(exoscale_server, key, secret):
    api = Exoscale(ZONE, key, secret)
    with pytest.raises(ExoscaleError, match="asked with api_key and api_secret: are they right") as error:
        api.call("list-sks-clusters")
    assert secret not in str(error.value)


def test_the_secret_is_on_no_command_line(exoscale_server, transport, monkeypatch):
    commands = []
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda command, **options: commands.append(command) or run(command, **options))
    api = Exoscale(ZONE, "EXOsandbox", SECRET)
    api.write("create-sks-cluster", CLUSTER | {"description": "for models"})
    assert bool(commands) is (transport == "exo")
    assert not [word for command in commands for word in command if SECRET in word or "for models" in word]


def test_settings_of_exo_that_would_show_secrets_or_mislead(exoscale_server, tmp_path, monkeypatch, capfd):
    (tmp_path / "exoscale.toml").write_text("this is no configuration")
    monkeypatch.setenv("HOME", "/")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EXOSCALE_TRACE", "1")
    assert Exoscale(ZONE).call("list-sks-clusters") == {"sks-clusters": []}
    assert "signature" not in "".join(capfd.readouterr())


def test_the_modules_do_the_same(exoscale, exoscale_server):
    """One cluster's life; whatever the transport, these are the requests that it takes."""
    gpu = {"cluster": "llm", "name": "gpu", "instance_type": "gpu3.small", "size": 1, "labels": {"role": "llm"}}
    dest = f"{os.environ['HOME']}/kubeconfig"
    life = [
        ("sks_cluster", {"name": "llm"}, ["create-sks-cluster"]),
        ("sks_cluster", {"name": "llm"}, []),
        ("sks_nodepool", gpu, ["create-sks-nodepool"]),
        ("sks_nodepool", gpu, []),
        ("sks_nodepool", gpu | {"labels": {}, "size": 0, "allow_shrink": True}, ["update-sks-nodepool", "scale-sks-nodepool"]),
        ("sks_nodepool", gpu | {"size": 2, "deploy_target": "dedicated"}, ["update-sks-nodepool", "scale-sks-nodepool"]),
        ("sks_nodepool", gpu | {"size": 2, "deploy_target": ""}, ["update-sks-nodepool"]),
        ("sks_cluster", {"name": "llm", "oidc": {"client_id": "a", "issuer_url": "https://a"}}, ["update-sks-cluster"]),
        ("sks_cluster", {"name": "llm", "oidc": {}, "feature_gates": ["A"]}, ["update-sks-cluster"]),
        ("sks_cluster", {"name": "llm", "feature_gates": []}, ["update-sks-cluster"]),
        ("sks_cluster", {"name": "llm", "ca_certificates": True}, []),
        ("sks_kubeconfig", {"cluster": "llm", "user": "a", "groups": ["b"], "dest": dest}, ["generate-sks-cluster-kubeconfig"]),
        ("sks_kubeconfig", {"cluster": "llm", "user": "a", "groups": ["b"], "dest": dest}, []),
        ("sks_cluster", {"name": "llm", "state": "absent", "force": True}, ["delete-sks-nodepool", "delete-sks-cluster"]),
    ]
    for module, options, writes in life:
        result = exoscale(module, **options)
        assert (result.get("msg"), result["changed"], result["writes"]) == (None, bool(writes), writes)
        assert "get-sks-cluster-authority-cert" not in result["calls"] or len(result["cluster"]["ca_certificates"]) == 3
    zone = SimpleNamespace(zone=ZONE)
    assert exoscale_server.organisation.list_sks_clusters(zone) == {"sks-clusters": []}
