# SPDX-License-Identifier: GPL-3.0-or-later
"""What an organisation has at Exoscale, and what each of the API's operations does to it.

Clusters, pools, instances and operations are dictionaries as the API shows them, with the sandbox's own fields under
names that begin with an underscore. An operation takes effect when it is asked for, is pending for some seconds, and
then ends; one that ends badly is undone, except that a new object stays, in the state `error`.
"""
from __future__ import annotations

import base64
import copy
import json
import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from . import catalogue
from .authority import Authority

# How an object is shown while an operation on it goes on. In any of these it refuses others.
BUSY = ("creating", "deleting", "scaling", "updating", "upgrading")
LOWERCASE = ("name", "instance-prefix")  # fields of a node pool that the document's text wants in lowercase
MONTH = 30 * 24 * 3600


class Refusal(Exception):
    """An answer other than success."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status, self.message = status, message


class Request(NamedTuple):
    """A valid request to one operation, with the fault that strikes it (empty: none)."""

    zone: str
    ids: dict[str, str]
    query: dict[str, str]
    body: dict
    fault: dict


class Organisation:
    """All that one organisation has.

    Args:
        file: where it is kept, None: nowhere.
        seconds: how long an operation is pending.
        folder: the kind cluster that stands behind the first SKS cluster, as cluster.py describes it; None: there is none.
    """

    def __init__(self, file: Path | None, seconds: float, folder: Path | None):
        self._file, self._seconds, self._folder = file, seconds, folder
        self._authority = Authority(folder)
        self._lock = threading.RLock()
        self.changed = threading.Event()  # for who makes nodes of instances
        self._state: dict[str, Any] = {"bound": None, "clusters": {}, "nodepools": {}, "instances": {}, "operations": {}}
        if file and file.exists():
            self._state = json.loads(file.read_text())

    def answer(self, operation: str, request: Request) -> dict | list:
        """What an operation answers.

        Raises:
            Refusal: it is refused, or the sandbox does not have it.
        """
        method = getattr(self, operation.replace("-", "_"), None)
        if not method:
            raise Refusal(501, f"The sandbox does not have the operation {operation}")
        with self._lock:
            self.settle()
            return copy.deepcopy(method(request))

    # Time

    def settle(self) -> None:
        """End the operations that are due, and give workers to instances that wait for one."""
        with self._lock:
            due = [operation for operation in self._state["operations"].values()
                   if operation["state"] == "pending" and operation["_due"] and operation["_due"] <= time.time()]
            for operation in due:
                self._end(operation)
            if self._place() or due:
                self._save()

    def pause(self) -> float | None:
        """Seconds until the next operation ends; None: none goes on."""
        with self._lock:
            due = [entry["_due"] for entry in self._state["operations"].values() if entry["state"] == "pending"]
        return min((max(0.0, moment - time.time()) for moment in due if moment), default=None)

    def release(self) -> None:
        """Let the operations end well that a fault keeps from ever ending."""
        with self._lock:
            for operation in self._state["operations"].values():
                operation["_due"] = operation["_due"] or time.time()
            self._save()

    def nodes(self) -> dict[str, dict]:
        """Instances that shall be nodes now, by the worker that each of them has."""
        with self._lock:
            return {entry["_worker"]: dict(entry) for entry in self._state["instances"].values()
                    if entry["_worker"] and entry["state"] != "starting"}

    def _start(self, request: Request, kind: str, record: dict, state: str, leaving: tuple[str, ...] = ()) -> dict:
        """Begin to bring an object to `record`, which it is in `state` meanwhile; return the operation.

        `deleting` deletes it. A node pool loses the instances `leaving` first.
        """
        fault, before = request.fault, self._state[kind].get(record["id"])
        ends = fault.get("ends", "success")
        if before and before["state"] in BUSY:
            raise Refusal(409, f"{kind[:-1]} {record['id']} is {before['state']}")
        why = {name: fault[name] for name in ("reason", "message") if name in fault}
        operation = {
            "id": str(uuid.uuid4()), "state": "pending", "reference": {"id": record["id"]}, "_kind": kind, "_ends": ends,
            "_why": why, "_due": None if ends == "never" else time.time() + self._seconds, "_before": before}
        self._state["operations"][operation["id"]] = operation
        if fault.get("at_once"):
            operation |= {"state": ends} | why
        else:
            self._state[kind][record["id"]] = record | {"state": state}
            if kind == "nodepools":
                self._resize(record, 0 if state == "deleting" else record["size"], leaving)
        self._save()
        return shown(operation)

    def _end(self, operation: dict) -> None:
        kind, reference = operation["_kind"], operation["reference"]["id"]
        record, before, ends = self._state[kind][reference], operation.pop("_before"), operation["_ends"]
        good = ends in ("success", "never")
        operation["state"] = "success" if good else ends
        if not good:
            operation |= operation["_why"]
            self._state[kind][reference] = before or record | {"state": "error"}
        elif record["state"] == "deleting":
            del self._state[kind][reference]
            if self._state["bound"] == reference:
                self._state["bound"] = None
        else:
            record["state"] = "running"
        for instance in self._members(reference):
            if instance["state"] == ("destroying" if good else "starting"):
                del self._state["instances"][instance["id"]]
            else:
                instance["state"] = "running"

    def _save(self) -> None:
        self.changed.set()
        if self._file:
            part = self._file.with_suffix(".part")
            part.write_text(json.dumps(self._state, indent=1))
            part.replace(self._file)

    # Instances

    def _members(self, pool: str) -> list[dict]:
        return [entry for entry in self._state["instances"].values() if entry["_pool"] == pool]

    def _resize(self, pool: dict, size: int, leaving: tuple[str, ...]) -> None:
        """Begin to bring a pool to a number of instances; those that go are `leaving`, and then the newest."""
        members = self._members(pool["id"])
        order = sorted(reversed(members), key=lambda entry: entry["id"] not in leaving)
        for instance in order[:max(0, len(members) - size)]:
            instance["state"] = "destroying"
        for _ in range(size - len(members)):
            name = f"{pool.get('instance-prefix', 'pool')}-{uuid.uuid4().hex[:10]}"
            instance = {
                "id": str(uuid.uuid4()), "name": name, "state": "starting", "created-at": now(),
                "_pool": pool["id"], "_worker": None, "_type": pool["instance-type"]["id"],
                "_gpus": catalogue.TYPES[pool["instance-type"]["id"]].get("gpus", 0),
                "_labels": pool.get("labels", {}), "_taints": pool.get("taints", {})}
            self._state["instances"][instance["id"]] = instance
        self._place()

    def _place(self) -> bool:
        """Give free workers of the kind cluster to instances of the bound SKS cluster that have none."""
        if not self._folder:
            return False
        instances = self._state["instances"].values()
        taken = {entry["_worker"] for entry in instances}
        free = [place.name for place in sorted((self._folder / "nodes").glob("*")) if place.name not in taken]
        waiting = [entry for entry in instances if not entry["_worker"]
                   and self._state["nodepools"][entry["_pool"]]["_cluster"] == self._state["bound"]]
        for instance, worker in zip(waiting, free, strict=False):
            instance |= {"_worker": worker, "name": worker}
        return bool(waiting and free)

    # Finding

    def _cluster(self, request: Request) -> dict:
        found = self._state["clusters"].get(request.ids["id"])
        if not found or found["_zone"] != request.zone:
            raise Refusal(404, "Not Found")
        return found

    def _pool(self, request: Request) -> dict:
        found = self._state["nodepools"].get(request.ids["sks-nodepool-id"])
        if not found or found["_cluster"] != self._cluster(request)["id"]:
            raise Refusal(404, "Not Found")
        return found

    def _pools(self, zone: str) -> list[dict]:
        clusters = self._state["clusters"]
        return [pool for pool in self._state["nodepools"].values() if clusters[pool["_cluster"]]["_zone"] == zone]

    def _shown_cluster(self, cluster: dict) -> dict:
        pools = [shown(pool) for pool in self._state["nodepools"].values() if pool["_cluster"] == cluster["id"]]
        return shown(cluster) | {"nodepools": pools}

    # Quotas

    def _usage(self) -> Counter:
        usage = Counter({"sks-cluster": len(self._state["clusters"])})
        for instance in self._state["instances"].values():
            usage += needs(instance["_type"], 1)
        return usage

    def _limits(self, request: Request) -> dict[str, int]:
        return catalogue.QUOTAS | request.fault.get("quota", {})

    def _authorized(self, request: Request, kind: dict) -> bool:
        return "gpus" not in kind or self._limits(request)[kind["family"]] > 0

    def _check_quota(self, request: Request, more: Counter) -> None:
        limits, usage = self._limits(request), self._usage()
        for resource, amount in more.items():
            if usage[resource] + amount > limits[resource]:
                raise Refusal(403, f"Quota exceeded for {resource}: {usage[resource]} of {limits[resource]} are used, and "
                              f"{amount} more are asked for")

    def _check_type(self, request: Request, reference: dict) -> None:
        kind = catalogue.TYPES.get(reference.get("id"))
        if not kind:
            raise Refusal(404, "Instance type not found")
        if not self._authorized(request, kind):
            raise Refusal(403, f"Instance type {kind['family']}.{kind['size']} is not authorized")
        if request.zone not in kind["zones"]:
            raise Refusal(400, f"Instance type {kind['family']}.{kind['size']} is not available in {request.zone}")

    # Operations of the API, by their names. What belongs to no zone comes first.

    def list_quotas(self, request: Request) -> dict:
        usage = self._usage()
        return {"quotas": [{"resource": resource, "usage": usage[resource], "limit": limit}
                           for resource, limit in self._limits(request).items()]}

    def get_quota(self, request: Request) -> dict:
        return known({quota["resource"]: quota for quota in self.list_quotas(request)["quotas"]}, request.ids["entity"])

    def list_instance_types(self, request: Request) -> dict:
        return {"instance-types": [kind | {"authorized": True} for kind in catalogue.TYPES.values()
                                   if self._authorized(request, kind)]}

    def get_instance_type(self, request: Request) -> dict:
        kind = known(catalogue.TYPES, request.ids["id"])
        return kind | {"authorized": self._authorized(request, kind)}

    def get_template(self, request: Request) -> dict:
        version, variant = known(catalogue.TEMPLATES, request.ids["id"])
        return {"id": request.ids["id"], "name": f"sks-node-{version}-{variant}", "visibility": "public"}

    def get_active_nodepool_template(self, request: Request) -> dict:
        template = catalogue.identity("{kube-version}-{variant}".format(**request.ids))
        known(catalogue.TEMPLATES, template)
        return {"active-template": template}

    def get_operation(self, request: Request) -> dict:
        return shown(known(self._state["operations"], request.ids["id"]))

    def list_sks_cluster_versions(self, request: Request) -> dict:
        deprecated = catalogue.DEPRECATED if request.query.get("include-deprecated") == "true" else ()
        return {"sks-cluster-versions": [*catalogue.VERSIONS, *deprecated]}

    # Clusters

    def list_sks_clusters(self, request: Request) -> dict:
        return {"sks-clusters": [self._shown_cluster(cluster) for cluster in self._state["clusters"].values()
                                 if cluster["_zone"] == request.zone]}

    def get_sks_cluster(self, request: Request) -> dict:
        return self._shown_cluster(self._cluster(request))

    def create_sks_cluster(self, request: Request) -> dict:
        self._check_quota(request, Counter({"sks-cluster": 1}))
        check_version(request.body["version"])
        reference, given = str(uuid.uuid4()), dict(request.body)
        given.pop("networking", None)
        if given.pop("create-default-security-group", False):
            given["default-security-group-id"] = str(uuid.uuid4())
        if not self._state["bound"] and not request.fault.get("at_once"):
            self._state["bound"] = reference
        server = self._folder / "server" if self._folder and self._state["bound"] == reference else None
        endpoint = server.read_text().strip() if server and server.exists() else (
            f"https://{reference}.sks-{request.zone}.exo.io:443")
        cluster = {"auto-upgrade": False, "enable-kube-proxy": given.get("cni") != "cilium", "enable-operators-ca": True,
                   "addons": [], "labels": {}, "feature-gates": []}
        return self._start(request, "clusters", cluster | cluster_fields({}, without_null(given)) | {
            "id": reference, "created-at": now(), "endpoint": endpoint, "_zone": request.zone}, "creating")

    def update_sks_cluster(self, request: Request) -> dict:
        cluster = self._cluster(request)
        return self._start(request, "clusters", without_null(cluster | cluster_fields(cluster, request.body)), "updating")

    def upgrade_sks_cluster(self, request: Request) -> dict:
        cluster, version = self._cluster(request), request.body["version"]
        check_version(version)
        now_at, goal = ([int(number) for number in text.split(".")] for text in (cluster["version"], version))
        if goal <= now_at or goal[1] > now_at[1] + 1:
            raise Refusal(400, f"Cannot upgrade from {cluster['version']} to {version}")
        return self._start(request, "clusters", cluster | {"version": version}, "upgrading")

    def upgrade_sks_cluster_service_level(self, request: Request) -> dict:
        cluster = self._cluster(request)
        if cluster["level"] == "pro":
            raise Refusal(400, "The cluster has the level pro already")
        return self._start(request, "clusters", cluster | {"level": "pro"}, "updating")

    def delete_sks_cluster(self, request: Request) -> dict:
        cluster = self._shown_cluster(self._cluster(request))
        if cluster["nodepools"]:
            raise Refusal(409, f"Cluster {cluster['id']} has node pools")
        return self._start(request, "clusters", self._cluster(request), "deleting")

    def generate_sks_cluster_kubeconfig(self, request: Request) -> dict:
        cluster, body = self._cluster(request), request.body
        config = self._authority.kubeconfig(
            cluster["name"], cluster["endpoint"], body["user"], body["groups"], body.get("ttl", MONTH))
        return {"kubeconfig": base64.b64encode(config.encode()).decode()}

    def get_sks_cluster_authority_cert(self, request: Request) -> dict:
        self._cluster(request)
        return {"cacert": base64.b64encode(self._authority.certificate).decode()}

    # Node pools

    def get_sks_nodepool(self, request: Request) -> dict:
        return shown(self._pool(request))

    def create_sks_nodepool(self, request: Request) -> dict:
        cluster, given = self._cluster(request), pool_fields(request.body)
        if cluster["state"] in BUSY:
            raise Refusal(409, f"Cluster {cluster['id']} is {cluster['state']}")
        self._check_pool(request, given)
        self._check_quota(request, needs(given["instance-type"]["id"], given["size"]))
        variant = "nvidia" if "gpus" in catalogue.TYPES[given["instance-type"]["id"]] else "standard"
        return self._start(request, "nodepools", {"instance-prefix": "pool", "labels": {}, "taints": {}} | without_null(given) | {
            "id": str(uuid.uuid4()), "created-at": now(), "version": cluster["version"], "_cluster": cluster["id"],
            "instance-pool": {"id": str(uuid.uuid4())},
            "template": {"id": catalogue.identity(f"{cluster['version']}-{variant}")}}, "creating")

    def update_sks_nodepool(self, request: Request) -> dict:
        pool = self._pool(request)
        self._check_pool(request, request.body)
        return self._start(request, "nodepools", without_null(pool | pool_fields(request.body)), "updating")

    def scale_sks_nodepool(self, request: Request) -> dict:
        pool, size = self._pool(request), request.body["size"]
        self._check_quota(request, needs(pool["instance-type"]["id"], size - len(self._members(pool["id"]))))
        return self._start(request, "nodepools", pool | {"size": size}, "scaling")

    def evict_sks_nodepool_members(self, request: Request) -> dict:
        pool, leaving = self._pool(request), tuple(request.body.get("instances", ()))
        members = {instance["id"] for instance in self._members(pool["id"])}
        if strangers := set(leaving) - members:
            raise Refusal(404, f"No instances of this pool: {', '.join(sorted(strangers))}")
        return self._start(request, "nodepools", pool | {"size": pool["size"] - len(leaving)}, "scaling", leaving)

    def delete_sks_nodepool(self, request: Request) -> dict:
        return self._start(request, "nodepools", self._pool(request), "deleting")

    def _check_pool(self, request: Request, given: dict) -> None:
        for name in LOWERCASE:
            if name in given and not re.fullmatch(r"[a-z0-9-]+", given[name]):
                raise Refusal(400, f"{name}: {given[name]!r} is not lowercase")
        if "instance-type" in given:
            self._check_type(request, given["instance-type"])
        for name in catalogue.GROUPS:
            there = getattr(self, f"list_{name.replace('-', '_')}")(request)[name]
            one = given.get("deploy-target") if name == "deploy-targets" else None
            wanted = [one] if one else given.get(name, ())
            if strangers := {entry["id"] for entry in wanted} - {entry["id"] for entry in there}:
                raise Refusal(404, f"No {name}: {', '.join(sorted(strangers))}")

    # What stands behind node pools, to be read only

    def list_instance_pools(self, request: Request) -> dict:
        return {"instance-pools": [self._instance_pool(pool) for pool in self._pools(request.zone)]}

    def get_instance_pool(self, request: Request) -> dict:
        return self._one(request, self.list_instance_pools(request)["instance-pools"])

    def list_instances(self, request: Request) -> dict:
        pools = {pool["id"]: pool for pool in self._pools(request.zone)}
        manager = request.query.get("manager-id")
        instances = [self._instance(entry, pools[entry["_pool"]]) for entry in self._state["instances"].values()
                     if entry["_pool"] in pools]
        return {"instances": [entry for entry in instances if manager in (None, entry["manager"]["id"])]}

    def get_instance(self, request: Request) -> dict:
        return self._one(request, self.list_instances(request)["instances"])

    def list_security_groups(self, request: Request) -> dict:
        return groups("security-groups", [
            {"id": cluster["default-security-group-id"], "name": f"sks-{cluster['id']}"}
            for cluster in self._state["clusters"].values()
            if cluster["_zone"] == request.zone and "default-security-group-id" in cluster])

    def list_anti_affinity_groups(self, request: Request) -> dict:
        return groups("anti-affinity-groups")

    def list_private_networks(self, request: Request) -> dict:
        return groups("private-networks")

    def list_deploy_targets(self, request: Request) -> dict:
        return groups("deploy-targets")

    def get_security_group(self, request: Request) -> dict:
        return self._one(request, self.list_security_groups(request)["security-groups"])

    def _one(self, request: Request, entries: list[dict]) -> dict:
        return known({entry["id"]: entry for entry in entries}, request.ids["id"])

    def _instance_pool(self, pool: dict) -> dict:
        members = [{"id": entry["id"]} for entry in self._members(pool["id"])]
        fields = {name: pool[name] for name in ("instance-type", "template", "instance-prefix", "disk-size")}
        if members:  # the document has no instance pool of size 0
            fields["size"] = len(members)
        return fields | {
            "id": pool["instance-pool"]["id"], "name": f"nodepool-{pool['name']}-{pool['id']}", "instances": members,
            "state": "running", "manager": {"id": pool["id"], "type": "sks-nodepool"}}

    def _instance(self, instance: dict, pool: dict) -> dict:
        return shown(instance) | {
            "instance-type": {"id": instance["_type"]}, "template": pool["template"],
            "manager": {"id": pool["instance-pool"]["id"], "type": "instance-pool"}}


def now() -> str:
    """This moment, as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def shown(record: dict) -> dict:
    """A record without the sandbox's own fields."""
    return {name: value for name, value in record.items() if not name.startswith("_")}


def without_null(record: dict) -> dict:
    """A record without the fields that are null, which is how a request clears them."""
    return {name: value for name, value in record.items() if value is not None}


def groups(kind: str, more: Iterable[dict] = ()) -> dict:
    """The list of a kind of what node pools can refer to."""
    return {kind: [{"id": catalogue.identity(f"{kind}.{name}"), "name": name} for name in catalogue.GROUPS[kind]] + [*more]}


def known(entries: dict, name: str) -> Any:
    """The entry of this name."""
    if name not in entries:
        raise Refusal(404, "Not Found")
    return entries[name]


def needs(kind: str, count: int) -> Counter:
    """What so many instances of a type take of the quotas; nothing where there are fewer than one."""
    about = catalogue.TYPES[kind]
    gpus = count * about.get("gpus", 0)
    return +Counter({"instance": count, "gpu": gpus, about["family"]: gpus})


def check_version(version: str) -> None:
    """Refuse a version of Kubernetes that there is not."""
    if version not in (*catalogue.VERSIONS, *catalogue.DEPRECATED):
        raise Refusal(400, f"Kubernetes version {version} is not available")


def cluster_fields(before: dict, given: dict) -> dict:
    """What a cluster shows of the fields in a request: not the token of its audit."""
    if "audit" not in given:
        return given
    audit = {"enabled": True, "initial-backoff": "10s"} | before.get("audit", {}) | given["audit"]
    return given | {"audit": {name: value for name, value in audit.items() if name != "bearer-token"}}


def pool_fields(given: dict) -> dict:
    """The fields of a node pool in a request, with references that are ids and nothing else."""
    def reduced(value: Any) -> Any:
        if isinstance(value, list):
            return [reduced(element) for element in value]
        return {"id": value["id"]} if isinstance(value, dict) and "id" in value else value
    return {name: value if name in ("labels", "taints") else reduced(value) for name, value in given.items()}
