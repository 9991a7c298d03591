# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-in for Exoscale's API is what the unchanged client library takes for the API."""

from __future__ import annotations

import base64
import json
import time
import urllib.request
from datetime import UTC, datetime

import pytest
import requests
import yaml
from cryptography import x509
from exoscale.api.exceptions import ExoscaleAPIAuthException, ExoscaleAPIClientException, ExoscaleAPIServerException
from exoscale.api.v2 import Client
from exoscale_auth import ExoscaleV2Auth

CLUSTER = {"name": "llm", "level": "starter", "version": "1.33.5", "cni": "calico"}
NOWHERE = "00000000-0000-4000-8000-000000000000"


class Account:
    """A client that follows what it starts."""

    def __init__(self, url: str, key: str = "EXOsandbox", secret: str = "secret-of-the-sandbox"):
        self.client = Client(key, secret, url=url)

    def __getattr__(self, operation):
        return getattr(self.client, operation)

    def write(self, operation, **arguments):
        """Do it, and return what the operation ended as."""
        started = getattr(self.client, operation)(**arguments)
        assert started["state"] == "pending"
        return self.get_operation(id=started["id"])

    def make(self, operation, **arguments):
        """Do it well, and return the id of what it was about."""
        ended = self.write(operation, **arguments)
        assert ended["state"] == "success"
        return ended["reference"]["id"]

    def type(self, name):
        types = self.list_instance_types()["instance-types"]
        return {"id": next(entry["id"] for entry in types if f"{entry['family']}.{entry['size']}" == name)}

    def pool(self, cluster, **fields):
        return {"id": cluster, "name": "gpu", "size": 1, "disk_size": 50, "instance_type": self.type("gpu3.small")} | fields

    def at(self, cluster):
        """The cluster's only pool."""
        [pool] = self.get_sks_cluster(id=cluster)["nodepools"]
        return {"id": cluster, "sks_nodepool_id": pool["id"]}


@pytest.fixture
def account(exoscale_server):
    return Account(exoscale_server.url)


@pytest.fixture
def cluster(account):
    return account.make("create_sks_cluster", **CLUSTER)


@pytest.fixture
def pool(account, cluster):
    """Ids of a cluster's pool of one gpu3.small."""
    account.make("create_sks_nodepool", **account.pool(cluster))
    return account.at(cluster)


@pytest.fixture
def faults(exoscale_server):
    return exoscale_server.faults


def refused(status, text):
    """A context in which the API refuses with a message that holds the text."""
    kind = ExoscaleAPIAuthException if status == 403 else ExoscaleAPIClientException
    return pytest.raises(kind, match=f"error {status}: .*{text}")


# Who asks


def test_zones_need_no_key_and_are_the_way_to_all_else(exoscale_server):
    with urllib.request.urlopen(f"{exoscale_server.url}/zone") as answer:
        zones = {zone["name"]: zone["api-endpoint"] for zone in json.load(answer)["zones"]}
    assert {"ch-gva-2", "ch-dk-2", "de-fra-1"} <= zones.keys()
    cluster = Account(zones["ch-gva-2"]).make("create_sks_cluster", **CLUSTER)
    assert Account(zones["ch-gva-2"]).get_sks_cluster(id=cluster)["endpoint"].endswith(".sks-ch-gva-2.exo.io:443")
    assert Account(zones["de-fra-1"]).list_sks_clusters() == Account(exoscale_server.url).list_sks_clusters() == {"sks-clusters": []}


@pytest.mark.parametrize(
    ("key", "secret", "text"),
    [("EXOother", "secret-of-the-sandbox", "Unknown API key"), ("EXOsandbox", "another", "Invalid signature")],
)
def test_a_wrong_key_or_secret_is_refused(exoscale_server, key, secret, text):
    with refused(403, text):
        Account(exoscale_server.url, key, secret).list_sks_clusters()


def test_what_is_not_signed_as_it_is_sent_is_refused(exoscale_server, monkeypatch):
    def ask(change=lambda request: None, **arguments):
        request = requests.Request(auth=ExoscaleV2Auth("EXOsandbox", "secret-of-the-sandbox"), **arguments).prepare()
        change(request)
        answer = requests.Session().send(request)
        return answer.status_code, answer.json().get("message")

    get = {"method": "GET", "url": f"{exoscale_server.url}/sks-cluster"}
    post = {"method": "POST", "url": get["url"], "json": CLUSTER}
    versions = {"method": "GET", "url": f"{exoscale_server.url}/sks-cluster-version", "params": {"include-deprecated": "true"}}
    assert ask(**get) == ask(**post) == ask(**versions) == (200, None)
    assert ask(lambda request: request.headers.pop("Authorization"), **get)[0] == 403
    assert ask(lambda request: setattr(request, "body", request.body.replace(b"llm", b"xxx")), **post)[0] == 403
    assert ask(lambda request: setattr(request, "url", request.url.replace("true", "flse")), **versions)[0] == 403
    assert ask(lambda request: setattr(request, "url", request.url + "&x=1"), **versions)[0] == 403
    monkeypatch.setattr(time, "time", lambda real=time.time: real() - 700)
    expired = requests.Request(auth=ExoscaleV2Auth("EXOsandbox", "secret-of-the-sandbox"), **get).prepare()
    monkeypatch.undo()
    assert requests.Session().send(expired).json() == {"message": "The signature has expired"}


# Clusters


def test_a_cluster_is_made_changed_upgraded_and_deleted(account):
    cluster = account.make("create_sks_cluster", **CLUSTER, create_default_security_group=True, description="one")
    about = account.get_sks_cluster(id=cluster)
    assert about.items() >= (CLUSTER | {"state": "running", "description": "one", "nodepools": []}).items()
    assert about["endpoint"] == f"https://{cluster}.sks-de-fra-1.exo.io:443"
    assert account.get_security_group(id=about["default-security-group-id"])["name"] == f"sks-{cluster}"
    account.make("update_sks_cluster", id=cluster, description=None, addons=["metrics-server"], auto_upgrade=True)
    account.make("upgrade_sks_cluster_service_level", id=cluster)
    account.make("upgrade_sks_cluster", id=cluster, version="1.34.4")
    [about] = account.list_sks_clusters()["sks-clusters"]
    assert (about["level"], about["version"], about["addons"]) == ("pro", "1.34.4", ["metrics-server"])
    assert "description" not in about
    account.make("delete_sks_cluster", id=cluster)
    assert account.list_sks_clusters() == {"sks-clusters": []}


def test_the_token_of_the_audit_is_never_shown(account):
    audit = {"endpoint": "https://logs", "bearer-token": "hush"}
    cluster = account.make("create_sks_cluster", **CLUSTER, audit=audit)
    account.make("update_sks_cluster", id=cluster, audit={"enabled": False})
    assert account.get_sks_cluster(id=cluster)["audit"] == {
        "endpoint": "https://logs", "enabled": False, "initial-backoff": "10s"}


@pytest.mark.parametrize(
    ("operation", "arguments", "status", "text"),
    [
        ("upgrade_sks_cluster", {"version": "1.32.9"}, 400, "Cannot upgrade"),
        ("upgrade_sks_cluster", {"version": "9.9.9"}, 400, "not available"),
        ("update_sks_cluster", {"addons": ["nonsense"]}, 400, "addons.0"),
        ("update_sks_cluster", {"name": ""}, 400, "name"),
        ("get_sks_cluster", {"id": NOWHERE}, 404, "Not Found"),
        ("get_sks_cluster", {"id": "llm"}, 400, "id: "),
        ("create_sks_cluster", {"id": None, "name": "x"}, 400, "'level' is a required property"),
        ("get_operation", {"id": NOWHERE}, 404, "Not Found"),
        ("list_dns_domains", {"id": None}, 501, "does not have"),
    ],
)
def test_bad_requests_are_refused(account, cluster, operation, arguments, status, text):
    arguments = {name: value for name, value in ({"id": cluster} | arguments).items() if value is not None}
    with pytest.raises((ExoscaleAPIClientException, ExoscaleAPIServerException), match=f"{status}: .*{text}"):
        getattr(account, operation)(**arguments)


def test_fields_that_the_contract_does_not_know_are_refused(account, exoscale_server):
    auth = ExoscaleV2Auth("EXOsandbox", "secret-of-the-sandbox")
    answer = requests.post(f"{exoscale_server.url}/sks-cluster", json=CLUSTER | {"colour": "red"}, auth=auth)
    assert (answer.status_code, "colour" in answer.json()["message"]) == (400, True)
    assert requests.get(f"{exoscale_server.url}/nonsense", auth=auth).status_code == 404


def test_a_kubeconfig_has_a_certificate_for_user_groups_and_ttl(account, cluster):
    given = account.generate_sks_cluster_kubeconfig(id=cluster, user="alice", groups=["a", "b"], ttl=600)["kubeconfig"]
    config = yaml.safe_load(base64.b64decode(given))
    certificate = x509.load_pem_x509_certificate(base64.b64decode(config["users"][0]["user"]["client-certificate-data"]))
    authority = account.get_sks_cluster_authority_cert(id=cluster, authority="control-plane")["cacert"]
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(base64.b64decode(authority)))
    assert certificate.subject.rfc4514_string() == "O=b,O=a,CN=alice"
    assert 590 < (certificate.not_valid_after_utc - datetime.now(UTC)).total_seconds() <= 600
    assert config["clusters"][0]["cluster"]["server"] == account.get_sks_cluster(id=cluster)["endpoint"]


# Node pools


def test_a_pool_is_made_scaled_changed_and_deleted(account, cluster):
    taints = {"nodepool": {"value": "llm", "effect": "NoSchedule"}}
    account.make("create_sks_nodepool", **account.pool(cluster, labels={"role": "llm"}, taints=taints))
    ids = account.at(cluster)
    about = account.get_sks_nodepool(**ids)
    assert (about["state"], about["size"], about["labels"], about["taints"]) == ("running", 1, {"role": "llm"}, taints)
    account.make("scale_sks_nodepool", **ids, size=3)
    account.make("update_sks_nodepool", **ids, labels={}, taints={}, disk_size=100)
    about = account.get_sks_nodepool(**ids)
    assert (about["size"], about["labels"], about["taints"], about["disk-size"]) == (3, {}, {}, 100)
    with refused(409, "has node pools"):
        account.delete_sks_cluster(id=cluster)
    account.make("delete_sks_nodepool", **ids)
    account.make("delete_sks_cluster", id=cluster)
    assert account.list_instances() == {"instances": []}


def test_references_may_be_whole_objects_as_exo_sends_them(account, cluster):
    kind = next(entry for entry in account.list_instance_types()["instance-types"] if entry["family"] == "gpu3")
    account.make("create_sks_nodepool", **account.pool(cluster, instance_type=kind))
    assert account.get_sks_nodepool(**account.at(cluster))["instance-type"] == {"id": kind["id"]}


def test_shrinking_takes_the_newest_instances_and_evicting_the_named_ones(account, cluster):
    account.make("create_sks_nodepool", **account.pool(cluster, size=4))
    ids = account.at(cluster)

    def members():
        pool = account.get_instance_pool(id=account.get_sks_nodepool(**ids)["instance-pool"]["id"])
        return [instance["id"] for instance in pool["instances"]]

    oldest, *middle, newest = members()
    account.make("scale_sks_nodepool", **ids, size=3)
    assert members() == [oldest, *middle]
    account.make("evict_sks_nodepool_members", **ids, instances=[oldest])
    assert members() == middle
    names = {account.get_instance(id=instance)["name"] for instance in middle}
    assert names == {instance["name"] for instance in account.list_instances()["instances"]}
    with refused(404, newest):
        account.evict_sks_nodepool_members(**ids, instances=[newest])
    account.make("scale_sks_nodepool", **ids, size=0)
    assert members() == []


@pytest.mark.parametrize(
    ("fields", "status", "text"),
    [
        ({"name": "GPU"}, 400, "name: 'GPU' is not lowercase"),
        ({"instance_prefix": "Pool"}, 400, "not lowercase"),
        ({"size": 0}, 400, "size"),
        ({"disk_size": 10}, 400, "disk-size"),
        ({"taints": {"a": {"value": "b"}}}, 400, "taints.a: 'effect' is a required property"),
        ({"instance_type": {"id": NOWHERE}}, 404, "Instance type not found"),
        ({"size": 5}, 403, "Quota exceeded for gpu"),
    ],
)
def test_a_pool_that_cannot_be_is_refused(account, cluster, fields, status, text):
    with refused(status, text):
        account.create_sks_nodepool(**account.pool(cluster, **fields))
    assert account.get_sks_cluster(id=cluster)["nodepools"] == []


@pytest.mark.parametrize("kind", ["anti-affinity-groups", "private-networks", "security-groups", "deploy-targets"])
def test_pools_refer_to_what_there_is(account, cluster, kind):
    field = kind.replace("-", "_")
    [first, *_] = getattr(account, f"list_{field}")()[kind]
    single = kind == "deploy-targets"

    def given(reference):
        return {"deploy_target": {"id": reference}} if single else {field: [{"id": reference}]}

    with refused(404, f"No {kind}: {NOWHERE}"):
        account.create_sks_nodepool(**account.pool(cluster, **given(NOWHERE)))
    account.make("create_sks_nodepool", **account.pool(cluster, **given(first["id"])))
    account.make("update_sks_nodepool", **account.at(cluster), **({"deploy_target": None} if single else {field: []}))
    about = account.get_sks_nodepool(**account.at(cluster))
    assert "deploy-target" not in about and about.get(kind, []) == []


def test_quotas_count_and_bound_what_there_is(account, pool):
    assert account.get_quota(entity="gpu3") == {"resource": "gpu3", "usage": 1, "limit": 4}
    with refused(403, "Quota exceeded for gpu: 1 of 4 are used, and 4 more"):
        account.scale_sks_nodepool(**pool, size=5)
    account.make("scale_sks_nodepool", **pool, size=4)
    usage = {quota["resource"]: quota["usage"] for quota in account.list_quotas()["quotas"]}
    assert (usage["instance"], usage["gpu"], usage["gpu3"], usage["sks-cluster"]) == (4, 4, 4, 1)


def test_types_that_the_organisation_may_not_use_are_not_listed(account, cluster, faults):
    pool = account.pool(cluster)
    faults.append({"quota": {"gpu3": 0}})
    assert {entry["family"] for entry in account.list_instance_types()["instance-types"]} == {"standard"}
    assert account.get_instance_type(**pool["instance_type"])["authorized"] is False
    with refused(403, "gpu3.small is not authorized"):
        account.create_sks_nodepool(**pool)


def test_types_are_in_their_zones_only(account, exoscale_server):
    elsewhere = Account(exoscale_server.zones()["zones"][0]["api-endpoint"])
    cluster = elsewhere.make("create_sks_cluster", **CLUSTER)
    with refused(400, "gpu3.small is not available in at-vie-1"):
        elsewhere.create_sks_nodepool(**elsewhere.pool(cluster))
    with refused(404, "Not Found"):
        account.get_sks_cluster(id=cluster)


# Operations and faults


def test_operations_take_their_time_and_survive_a_restart(exoscale_module, tmp_path):
    def states(organisation):
        request = exoscale_module.Request("de-fra-1", {}, {}, CLUSTER, {})
        organisation.settle()
        return [cluster["state"] for cluster in organisation.answer("list-sks-clusters", request)["sks-clusters"]]

    before = exoscale_module.Organisation(tmp_path / "state.json", 0.2, None)
    before.answer("create-sks-cluster", exoscale_module.Request("de-fra-1", {}, {}, CLUSTER, {}))
    assert states(before) == ["creating"]
    after = exoscale_module.Organisation(tmp_path / "state.json", 0.2, None)
    assert states(after) == ["creating"]
    assert 0 < after.pause() <= 0.2
    time.sleep(0.25)
    assert states(after) == ["running"]
    assert after.pause() is None


@pytest.mark.parametrize("ends", ["failure", "timeout"])
def test_an_operation_that_fails_is_undone(account, pool, faults, ends):
    faults.append({"operation": "scale-*", "times": 1, "ends": ends, "reason": "unavailable", "message": "No hosts"})
    ended = account.write("scale_sks_nodepool", **pool, size=3)
    assert (ended["state"], ended["reason"], ended["message"]) == (ends, "unavailable", "No hosts")
    about = account.get_sks_nodepool(**pool)
    assert (about["state"], about["size"], len(account.list_instances()["instances"])) == ("running", 1, 1)
    account.make("scale_sks_nodepool", **pool, size=2)


def test_what_could_not_be_made_stays_in_error(account, cluster, faults):
    faults.append({"operation": "create-sks-nodepool", "ends": "failure", "reason": "fault"})
    assert account.write("create_sks_nodepool", **account.pool(cluster))["state"] == "failure"
    assert account.get_sks_cluster(id=cluster)["nodepools"][0]["state"] == "error"
    assert account.list_instances() == {"instances": []}
    account.make("delete_sks_nodepool", **account.at(cluster))


def test_an_operation_can_fail_at_once(account, cluster, faults):
    faults.append({"ends": "failure", "at_once": True, "reason": "conflict"})
    answer = account.create_sks_nodepool(**account.pool(cluster))
    assert (answer["state"], answer["reason"]) == ("failure", "conflict")
    assert account.get_sks_cluster(id=cluster)["nodepools"] == []


def test_an_operation_can_last_until_the_faults_are_removed(account, pool, exoscale_server):
    exoscale_server.faults.append({"operation": "scale-sks-nodepool", "ends": "never"})
    assert account.write("scale_sks_nodepool", **pool, size=2)["state"] == "pending"
    with refused(409, "is scaling"):
        account.scale_sks_nodepool(**pool, size=3)
    exoscale_server.heal()
    assert account.get_sks_nodepool(**pool)["state"] == "running"


@pytest.mark.parametrize(("moment", "clusters"), [("before", 0), ("after", 1)])
def test_an_answer_can_be_lost(account, faults, moment, clusters):
    faults.append({"operation": "create-sks-cluster", "drop": moment, "times": 1})
    with pytest.raises(requests.ConnectionError):
        account.create_sks_cluster(**CLUSTER)
    assert len(account.list_sks_clusters()["sks-clusters"]) == clusters


def test_answers_can_be_refused_late_or_strange(account, cluster, faults, exoscale_server):
    faults += [
        {"operation": "list-quotas", "status": 429, "message": "Slow down", "times": 1},
        {"operation": "get-sks-cluster", "set": {"state": "unheard-of"}, "remove": ["version"], "times": 1},
        {"operation": "list-sks-clusters", "set": {"sks-clusters.level": "deluxe"}, "remove": ["sks-clusters.name"], "times": 1},
        {"operation": "list-zones", "delay": 0.1},
    ]
    with refused(429, "Slow down"):
        account.list_quotas()
    about = account.get_sks_cluster(id=cluster)
    assert (about["state"], "version" in about) == ("unheard-of", False)
    [about] = account.list_sks_clusters()["sks-clusters"]
    assert (about["level"], "name" in about) == ("deluxe", False)
    assert account.get_sks_cluster(id=cluster).items() >= CLUSTER.items()
    started = time.monotonic()
    account.list_zones()
    assert time.monotonic() - started >= 0.1


def test_calls_and_faults_over_http(account, exoscale_server):
    def ask(method, path, body=None):
        return requests.request(method, exoscale_server.url.replace("/v2", f"/sandbox/{path}"), json=body).json()

    assert ask("POST", "faults", {"operation": "list-*", "status": 500}) == exoscale_server.faults
    with pytest.raises(ExoscaleAPIServerException, match="told to answer 500"):
        account.list_quotas()
    assert ask("DELETE", "faults") == exoscale_server.faults == []
    account.list_quotas()
    assert ask("GET", "calls") == {"list-quotas": 2}
    assert ask("DELETE", "calls") == ask("GET", "calls") == {}


def test_an_answer_that_breaks_the_contract_shows(account, exoscale_server, monkeypatch):
    monkeypatch.setattr(exoscale_server.organisation, "list_quotas", lambda request: {"quotas": [{"limit": "high"}]})
    with pytest.raises(ExoscaleAPIServerException, match="breaks the contract: quotas.0.limit: 'high' is not of type"):
        account.list_quotas()
    assert len(exoscale_server.broken) == 1
    exoscale_server.broken.clear()


# The kind cluster's workers


@pytest.fixture
def workers(exoscale_module, tmp_path):
    """A description of a kind cluster with two workers, and an organisation that has it; nobody asks its API server."""
    for name in ("w-worker", "w-worker2"):
        (tmp_path / "nodes" / name).mkdir(parents=True)
    (tmp_path / "server").write_text("https://10.0.0.1:6443")
    organisation = exoscale_module.Organisation(None, 0, tmp_path)

    def write(operation, body=None, **ids):
        ids = {name.replace("_", "-"): value for name, value in ids.items()}
        answer = organisation.answer(operation, exoscale_module.Request("de-fra-1", ids, {}, body or {}, {}))
        organisation.settle()
        return answer["reference"]["id"]

    write.organisation = organisation
    return write


def test_instances_of_the_first_cluster_are_workers(exoscale_module, workers):
    kinds = {kind["family"]: kind["id"] for kind in exoscale_module.catalogue.TYPES.values() if kind["size"] == "medium"}
    first, second = (workers("create-sks-cluster", CLUSTER) for _ in range(2))

    def pool(cluster, family, size):
        body = {"name": family, "size": size, "disk-size": 50, "instance-type": {"id": kinds[family]}}
        return {"id": cluster, "sks_nodepool_id": workers("create-sks-nodepool", body, id=cluster)}

    def nodes():
        return {name: (entry["_pool"], entry["_gpus"]) for name, entry in workers.organisation.nodes().items()}

    pool(second, "standard", 1)
    assert nodes() == {}
    plain, gpu = pool(first, "standard", 1), pool(first, "gpu3", 2)
    plain_id, gpu_id = plain["sks_nodepool_id"], gpu["sks_nodepool_id"]
    assert nodes() == {"w-worker": (plain_id, 0), "w-worker2": (gpu_id, 2)}
    workers("delete-sks-nodepool", **plain)
    workers.organisation.settle()
    assert nodes() == {"w-worker": (gpu_id, 2), "w-worker2": (gpu_id, 2)}
    workers("scale-sks-nodepool", {"size": 0}, **gpu)
    assert nodes() == {}


NODE = {
    "metadata": {"name": "w-worker", "resourceVersion": "7", "labels": {"kubernetes.io/os": "linux"}},
    "spec": {"taints": [{"key": "sandbox/no-pool", "effect": "NoSchedule"},
                        {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}]},
}
INSTANCE = {"id": "i-1", "_pool": "p-1", "_labels": {"role": "llm", "node.kubernetes.io/kind": "big"},
            "_taints": {"nodepool": {"value": "llm", "effect": "NoSchedule"}}}


def patched(patch):
    """NODE after a merge patch."""
    about = {field: {name: value for name, value in (NODE["metadata"].get(field, {}) | patch["metadata"][field]).items()
                     if value is not None} for field in ("labels", "annotations")}
    return {"metadata": NODE["metadata"] | about, "spec": {"taints": patch["spec"]["taints"]}}


def test_a_worker_becomes_a_new_node_and_nothing_again(exoscale_module):
    patch_for = exoscale_module.nodes.patch_for
    assert patch_for(NODE, None) is None
    node = patched(patch_for(NODE, INSTANCE))
    assert node["metadata"]["labels"] == {
        "kubernetes.io/os": "linux", "node.exoscale.net/nodepool-id": "p-1", **INSTANCE["_labels"]}
    assert node["spec"]["taints"] == [
        NODE["spec"]["taints"][1], {"key": "nodepool", "value": "llm", "effect": "NoSchedule"}]
    assert patch_for(node, INSTANCE | {"_labels": {}, "_taints": {}}) is None
    node["metadata"]["labels"]["set/by-hand"] = "x"
    patch = patch_for(node, None)
    assert patch["metadata"]["labels"] == dict.fromkeys(
        ["node.exoscale.net/nodepool-id", "role", "node.kubernetes.io/kind", "set/by-hand"])
    assert patch["spec"] == {"taints": NODE["spec"]["taints"][::-1], "unschedulable": None}
    assert patch["metadata"]["annotations"] == {"sandbox/instance": None}


@pytest.mark.parametrize(
    ("namespace", "owner", "stays"),
    [("kube-system", "DaemonSet", True), ("kube-system", "Node", True), ("kube-system", "ReplicaSet", False),
     ("llm", "DaemonSet", False), ("llm", None, False)],
)
def test_only_what_belongs_to_a_node_stays_on_it(exoscale_module, namespace, owner, stays):
    owners = {"ownerReferences": [{"kind": owner}]} if owner else {}
    assert exoscale_module.nodes.stays({"metadata": {"namespace": namespace, **owners}}) is stays
