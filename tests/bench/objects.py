# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects that the collection wrote, as somebody would write them for another tool."""
from __future__ import annotations

import json
from typing import Any

from ansible_collections.selfhosted.llm.plugins.module_utils.kube.apply import ENGINEER, INSTANCE, MANAGER, read_owned
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import Kube
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import OWNED


def written(kube: Kube, engineer: str) -> dict[str, list[dict]]:
    """By deployment, the objects in the engineer's namespace with just the fields that the collection applied."""
    found: dict[str, list[dict]] = {}
    kinds = tuple(kind for kind in OWNED if not kind.optional)
    for live in read_owned(kube, f"llm-{engineer}", {ENGINEER: engineer}, kinds):
        instance = live["metadata"]["labels"].get(INSTANCE)
        for entry in live["metadata"].get("managedFields", ()):
            if instance and entry["manager"] == MANAGER and entry["operation"] == "Apply":
                wanted = _owned(entry["fieldsV1"], live)
                wanted |= {"apiVersion": live["apiVersion"], "kind": live["kind"]}
                wanted["metadata"]["name"] = live["metadata"]["name"]
                found.setdefault(instance, []).append(wanted)
    return found


def _owned(fields: dict, live: Any) -> Any:
    """The part of `live` that a managedFields set names (f: field, k: keyed list item, v: list value, "." itself)."""
    inner = {key: value for key, value in fields.items() if key != "."}
    if not inner:
        return live
    if next(iter(inner)).startswith("f:"):
        return {key[2:]: _owned(value, live[key[2:]]) for key, value in inner.items() if key[2:] in live}  # an empty value is not kept
    if next(iter(inner)).startswith("v:"):
        return [json.loads(key[2:]) for key in inner]
    keyed = [(json.loads(key[2:]), value) for key, value in inner.items()]
    return [_owned(value, next(item for item in live if keys.items() <= item.items())) for keys, value in keyed]
