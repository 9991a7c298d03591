# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""API keys in Secrets: made once and kept, handed to colleagues one by one, replaced on request.

Engines read their keys when they start. So that a colleague can be let in without a restart, the file of an engine that takes several
has spare ones from the beginning. A colleague who is let out loses theirs at the next start; until then the way in is closed.
"""

from __future__ import annotations

import base64
import secrets

from ..errors import UserError
from .apply import path_of

# On a Secret: which of its data are made here, ``key``, or ``key,keys`` for an engine that takes several.
GENERATE = "selfhosted.llm/generate"
# On a colleague's Secret, and on one for Prometheus: the Secret whose key it passes on, in the item that is empty. Of another namespace,
# it is namespace/name.
KEY_OF = "selfhosted.llm/key-of"
# On a Secret and on the pods that read it: differs after each rotation.
VERSION = "selfhosted.llm/key-version"
# On a Secret with spare keys: how many of them were given away since the last rotation.
HANDED_OUT = "selfhosted.llm/handed-out"
SPARES = 8
COLLEAGUES_KEY = "OPENAI_API_KEY"


def are_made_in(obj: dict) -> bool:
    """Whether an object is a Secret into which ``fill`` puts keys."""
    return not {GENERATE, KEY_OF}.isdisjoint(_annotations(obj))


def fill(objects: list[dict], live: dict[str, dict]) -> None:
    """Put keys into the Secrets among the objects of a deployment, and their version onto its pods.

    Args:
        objects: the desired objects, changed in place.
        live: the deployment's Secrets as they are, by URL path.

    Raises:
        UserError: a colleague needs a key and none is left.
    """
    for secret in [obj for obj in objects if GENERATE in _annotations(obj)]:
        present = live.get(path_of(secret), {})
        data = {name: _text(value) for name, value in present.get("data", {}).items()}
        key = data.get("key") or _new()
        annotations = {name: value for name, value in _annotations(present).items() if name in (VERSION, HANDED_OUT)}
        keys = []
        if "keys" in _annotations(secret)[GENERATE].split(","):
            keys = data.get("keys", "").split() or [key, *(_new() for _number in range(SPARES))]
        name, colleagues = secret["metadata"]["name"], []
        for other in objects:
            if _annotations(other).get(KEY_OF) in (name, f"{secret['metadata'].get('namespace')}/{name}"):
                colleagues.append(_colleague(other, live.get(path_of(other), {}), key, keys, annotations))
        given = int(annotations.get(HANDED_OUT, 0))
        keys = [value if place == 0 or place > given or value in colleagues else _new() for place, value in enumerate(keys)]
        secret["metadata"]["annotations"] |= annotations
        secret["data"] = {"key": _encoded(key)} | ({"keys": _encoded("\n".join(keys) + "\n")} if keys else {})
        if version := annotations.get(VERSION):
            for deployment in [obj for obj in objects if obj["kind"] == "Deployment"]:
                deployment["spec"]["template"]["metadata"].setdefault("annotations", {})[VERSION] = version


def rotated(secret: dict, colleagues: list[dict]) -> str:
    """Replace all keys of a live Secret and of its colleagues' in place; returns the new version."""
    version = str(int(_annotations(secret).get(VERSION, 1)) + 1)
    keys = [_new() for _number in range(1 + SPARES)]
    several = "keys" in secret["data"]
    if len(colleagues) > SPARES:
        raise UserError(f"There are keys for {SPARES} colleagues, not for {len(colleagues)}: take some out of llm_shared_with.")
    for place, other in enumerate(colleagues, 1):
        other["data"][COLLEAGUES_KEY] = _encoded(keys[place if several else 0])
    secret["data"] = {"key": _encoded(keys[0])} | ({"keys": _encoded("\n".join(keys) + "\n")} if several else {})
    secret["metadata"].setdefault("annotations", {})[VERSION] = version
    if several:
        secret["metadata"]["annotations"][HANDED_OUT] = str(len(colleagues))
    return version


def own(objects: list[dict]) -> dict:
    """The Secret with a deployment's own keys among its live objects; empty where it has none."""
    return next((obj for obj in objects if GENERATE in _annotations(obj)), {})


def read(secret: dict) -> str:
    """The owner's key in a live Secret."""
    return _text(secret["data"]["key"])


def _colleague(obj: dict, present: dict, key: str, keys: list[str], annotations: dict[str, str]) -> str:
    """Fill in the Secret of a colleague, or Prometheus' copy; returns the key in it."""
    item = next(name for name, value in obj["data"].items() if not value)
    mine = _text(present.get("data", {}).get(item, ""))
    if mine not in (keys[1:] or [key]):
        mine = key
        if keys:
            given = int(annotations.get(HANDED_OUT, 0)) + 1
            if given >= len(keys):
                raise UserError(
                    f"llm_shared_with: all {SPARES} spare keys of this deployment were handed out since the last rotation. "
                    "Run playbooks/rotate_key.yml, which makes new ones, and then this again."
                )
            annotations[HANDED_OUT], mine = str(given), keys[given]
    obj["data"][item] = _encoded(mine)
    return mine


def _annotations(obj: dict) -> dict[str, str]:
    return obj.get("metadata", {}).get("annotations", {})


def _new() -> str:
    return secrets.token_urlsafe(32)


def _text(value: str) -> str:
    return base64.b64decode(value).decode()


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
