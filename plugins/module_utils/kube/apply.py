# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make objects on a cluster equal to what is wanted: server-side apply, exact dry runs, pruning."""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
from typing import Any, NamedTuple

from ..errors import library
from .client import APPLY_PATCH, Kube, KubeError
from .kinds import BY_NAME, OWNED, Kind

MANAGER = "selfhosted.llm"
# The engine, with "-" in place of "_".
NAME = "app.kubernetes.io/name"
INSTANCE = "app.kubernetes.io/instance"
MANAGED_BY = "app.kubernetes.io/managed-by"
ENGINEER = "selfhosted.llm/engineer"
# On a Deployment: what it serves, org/repo@commit in short.
MODEL = "selfhosted.llm/model"
# On a Deployment: its share of GPUs in words.
SHARE = "selfhosted.llm/share"


class Change(NamedTuple):
    """What happened, or would happen, to one object.

    Attributes:
        action: ``created``, ``changed``, ``unchanged`` or ``deleted``.
        before, after: the whole object, or an empty dict where there is none.
        taken_over: one sentence for each field that another field manager held with another value.
        validated: False where the API server could not be asked, because the namespace or cluster does not exist yet.
    """

    kind: str
    namespace: str | None
    name: str
    action: str
    before: dict
    after: dict
    taken_over: tuple[str, ...] = ()
    validated: bool = True

    def __str__(self) -> str:
        place = f"{self.namespace}/{self.name}" if self.namespace else self.name
        note = "" if self.validated else " (not validated: its namespace or cluster does not exist yet)"
        return f"{self.kind} {place} {self.action}{note}"


def path_of(obj: dict) -> str:
    """URL path of an object given as a dict."""
    metadata = obj["metadata"]
    return BY_NAME[obj["kind"]].path(metadata.get("namespace"), metadata["name"])


def read(kube: Kube, obj: dict) -> dict:
    """The live version of an object, or an empty dict."""
    try:
        return kube.request("GET", path_of(obj))
    except KubeError as error:
        if error.status == 404:
            return {}
        raise


def read_owned(kube: Kube, namespace: str, labels: dict[str, str], kinds: tuple[Kind, ...] = OWNED) -> list[dict]:
    """All live objects of some kinds in a namespace that carry these labels."""
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    found = []
    for kind in kinds:
        items = kube.request("GET", kind.path(namespace), query={"labelSelector": selector})["items"]
        # Items of a list come without their kind.
        found += [{"apiVersion": kind.api, "kind": kind.name, **item} for item in items]
    return found


def apply_object(kube: Kube, desired: dict, check_mode: bool, live: dict | None = None) -> Change:
    """Bring one object to its desired state by server-side apply.

    Args:
        desired: the object; only the fields in it are managed.
        check_mode: ask the API server for a dry run instead of writing.
        live: the object as it is, an empty dict if it is known to be absent; read from the cluster by default.

    Raises:
        KubeError: the API server refuses, as a sentence that names the object.
    """
    live = read(kube, desired) if live is None else live
    metadata = desired["metadata"]
    names = (desired["kind"], metadata.get("namespace"), metadata["name"])
    if live and (desired["kind"] == "Job" or is_applied(desired, live)):  # a Job's template is immutable: its name tells it apart
        return Change(*names, "unchanged", live, live)
    query = {"fieldManager": MANAGER, "fieldValidation": "Strict"} | ({"dryRun": "All"} if check_mode else {})
    taken_over: tuple[str, ...] = ()
    try:
        try:
            after = kube.request("PATCH", path_of(desired), desired, query, APPLY_PATCH)
        except KubeError as error:
            if error.reason != "Conflict":
                raise
            taken_over = tuple(
                f"{cause.get('field', '').lstrip('.')}: {cause.get('message', '')}" for cause in error.details.get("causes", ())
            )
            after = kube.request("PATCH", path_of(desired), desired, query | {"force": "true"}, APPLY_PATCH)
    except KubeError as error:
        if check_mode and error.status == 404:
            return Change(*names, "created", {}, desired, validated=False)
        raise KubeError(_refusal(names, error), error.status, error.reason) from None
    if not live:
        return Change(*names, "created", {}, after, taken_over)
    action = "unchanged" if comparable(live) == comparable(after) else "changed"
    return Change(*names, action, live, after, taken_over)


def delete_object(kube: Kube, live: dict, check_mode: bool, propagation: str = "Background") -> Change:
    """Delete one object and what it controls, with ``Foreground`` that first; an object already gone counts as deleted."""
    if not check_mode:
        try:
            kube.request("DELETE", path_of(live), query={"propagationPolicy": propagation})
        except KubeError as error:
            if error.status != 404:
                raise
    metadata = live["metadata"]
    return Change(live["kind"], metadata.get("namespace"), metadata["name"], "deleted", live, {})


def is_applied(desired: dict, live: dict) -> bool:
    """Whether applying would change nothing, judged without asking the API server.

    True when this manager owns exactly the desired fields, as managedFields tells, and each has the desired value. False may
    also mean "cannot tell" (a quantity written in another unit); the API server then decides.
    """
    for entry in live.get("metadata", {}).get("managedFields", ()):
        if entry["manager"] == MANAGER and entry["operation"] == "Apply" and not entry.get("subresource"):
            metadata = {key: value for key, value in desired["metadata"].items() if key not in ("name", "namespace")}
            body = {key: value for key, value in desired.items() if key not in ("apiVersion", "kind", "metadata")}
            return _same(entry.get("fieldsV1", {}), body | ({"metadata": metadata} if metadata else {}), live)
    return False


def _same(fields: dict, desired: Any, live: Any) -> bool:
    """Compare along a managedFields set (fieldsV1), whose keys are f: field, k: keyed list item, v: list value, "." itself."""
    owned = {key.partition(":")[2]: (key[0], inner) for key, inner in fields.items() if key != "."}
    if not owned:  # a value, or a map or list that is replaced as a whole
        return _equal(desired, live)
    sort = next(iter(owned.values()))[0]
    if sort == "f":
        if not isinstance(desired, dict) or not isinstance(live, dict) or set(desired) != set(owned):
            return False
        return all(name in live and _same(inner, desired[name], live[name]) for name, (_sort, inner) in owned.items())
    if not isinstance(desired, list) or not isinstance(live, list) or len(desired) != len(owned):
        return False
    if sort == "v":
        return all(json.loads(name) in desired and json.loads(name) in live for name in owned)
    for name, (_sort, inner) in owned.items():
        keys = json.loads(name)
        wanted, present = (_keyed(items, keys) for items in (desired, live))
        # A key that was filled in by default (protocol: TCP) is owned by nobody.
        if wanted is None or present is None or not _same(inner, wanted, present):
            return False
    return True


def _keyed(items: list[dict], keys: dict) -> dict | None:
    """The list item with these keys; one that leaves a key to its default matches too."""
    return next((item for item in items if all(item.get(key, value) == value for key, value in keys.items())), None)


def _equal(desired: Any, live: Any) -> bool:
    if isinstance(desired, dict) and isinstance(live, dict):
        return desired.keys() == live.keys() and all(_equal(desired[key], live[key]) for key in desired)
    if isinstance(desired, list) and isinstance(live, list):
        return len(desired) == len(live) and all(map(_equal, desired, live))
    return str(live) == str(desired)  # quantities and ports may be written as numbers and read as text


def comparable(obj: dict) -> dict:
    """An object without what the API server changes by itself."""
    result = {key: value for key, value in obj.items() if key != "status"}
    result["metadata"] = {
        key: value
        for key, value in obj.get("metadata", {}).items()
        if key not in ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp")
    }
    return result


def diff(change: Change) -> dict:
    """Ansible's diff of one change; Secrets show fingerprints that mean nothing outside this one diff."""
    title = f"{change.kind} {change.namespace or ''}/{change.name}"
    return {
        "before_header": title,
        "after_header": title,
        "before": _shown(change.before, change),
        "after": _shown(change.after, change),
    }


def _shown(obj: dict, change: Change) -> str:
    if not obj:
        return ""
    obj = copy.deepcopy(comparable(obj))
    if obj["kind"] == "Secret":
        key = (change.before or change.after)["metadata"].get("uid", "new").encode()
        for name, value in obj.get("data", {}).items():
            obj["data"][name] = f"hidden ({hmac.new(key, value.encode(), hashlib.sha256).hexdigest()[:8]})" if change.before else "hidden"
    return library("yaml", "PyYAML").safe_dump(json.loads(json.dumps(obj)), sort_keys=True)


def _refusal(names: tuple[str, str | None, str], error: KubeError) -> str:
    kind, namespace, name = names
    where = f"{namespace}/{name}" if namespace else name
    if error.status == 404 and namespace:
        return (
            f"{kind} {where} cannot be written: the namespace {namespace} does not exist. The platform's admin makes it by "
            "listing the engineer in engineer_accounts and running playbooks/platform.yml."
        )
    if error.status == 422:
        return f"{kind} {where} cannot be changed like this: {error.message}"
    return f"{kind} {where} was refused: {error.message}"
