# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import copy

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube import keys
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.apply import path_of


def secret(name: str, **annotations: str) -> dict:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "n", "annotations": annotations}}


def own(generate: str = "key,keys") -> dict:
    return secret("chat-api-key", **{keys.GENERATE: generate})


def colleague(name: str) -> dict:
    return secret(f"chat-for-{name}", **{keys.KEY_OF: "chat-api-key"}) | {"data": {keys.COLLEAGUES_KEY: ""}}


def deployment() -> dict:
    return {"kind": "Deployment", "spec": {"template": {"metadata": {}}}}


def filled(live: list[dict], *objects: dict) -> list[dict]:
    """The objects with keys, where those in live are on the cluster."""
    objects = copy.deepcopy(list(objects))
    keys.fill(objects, {path_of(obj): obj for obj in live})
    return objects


def text(obj: dict, name: str) -> str:
    return base64.b64decode(obj["data"][name]).decode()


def key_of(obj: dict) -> str:
    return text(obj, keys.COLLEAGUES_KEY)


def test_a_key_is_made_once_and_kept():
    (first,) = filled([], own("key"))
    (second,) = filled([first], own("key"))
    assert len(text(first, "key")) >= 40 and set(first["data"]) == {"key"}
    assert second == first


def test_a_file_of_keys_begins_with_the_owners_and_has_spare_ones():
    (obj,) = filled([], own())
    lines = text(obj, "keys").split()
    assert lines[0] == keys.read(obj) == text(obj, "key")
    assert len(set(lines)) == 1 + keys.SPARES
    assert filled([obj], own()) == [obj]


def test_an_engine_that_comes_to_take_several_keeps_the_owners_key():
    (one,) = filled([], own("key"))
    (several,) = filled([one], own())
    assert text(several, "key") == text(one, "key") == text(several, "keys").split()[0]
    (again,) = filled([several], own("key"))
    assert again["data"] == one["data"]


def test_a_colleague_comes_in_without_a_change_of_the_file():
    (before,) = filled([], own())
    after, bob = filled([before], own(), colleague("bob"))
    assert after["data"] == before["data"]
    assert key_of(bob) == text(before, "keys").split()[1]
    again = filled([after, bob], own(), colleague("bob"))
    assert again == [after, bob]
    _own, *both = filled([after, bob], own(), colleague("bob"), colleague("carol"))
    assert key_of(both[0]) == key_of(bob) != key_of(both[1])


def test_the_key_of_a_colleague_who_left_is_not_in_the_file_and_never_given_away_again():
    before, bob = filled([], own(), colleague("bob"))
    (after,) = filled([before, bob], own())
    former, lines = text(before, "keys").split(), text(after, "keys").split()
    assert key_of(bob) not in lines
    assert [old for old, new in zip(former, lines, strict=True) if old != new] == [key_of(bob)]
    _own, back = filled([after], own(), colleague("bob"))
    assert key_of(back) == former[2]


def test_spare_keys_end_with_a_sentence():
    live = filled([], own())
    for number in range(keys.SPARES):
        live = filled(live, own(), colleague(f"c{number}"))[:1]
    with pytest.raises(UserError, match="all 8 spare keys .*rotate_key"):
        filled(live, own(), colleague("late"))


def test_an_engine_of_one_key_shares_the_owners():
    obj, bob = filled([], own("key"), colleague("bob"))
    assert key_of(bob) == text(obj, "key")


@pytest.mark.parametrize("generate", ["key", "key,keys"])
def test_a_rotation_replaces_every_key_and_marks_the_pods(generate):
    before = filled([], own(generate), colleague("bob"), deployment())
    assert "annotations" not in before[2]["spec"]["template"]["metadata"]
    obj, bob = copy.deepcopy(before[:2])
    version = keys.rotated(obj, [bob])
    assert not set(obj["data"].values()) & set(before[0]["data"].values()) and key_of(bob) != key_of(before[1])
    after = filled([obj, bob], own(generate), colleague("bob"), deployment())
    assert after[0]["data"] == obj["data"] and after[1]["data"] == bob["data"]
    assert after[2]["spec"]["template"]["metadata"]["annotations"] == {keys.VERSION: version}
    assert keys.rotated(obj, [bob]) != version


def test_more_colleagues_than_keys_are_no_rotation():
    with pytest.raises(UserError, match="keys for 8 colleagues, not for 9"):
        keys.rotated(filled([], own())[0], [colleague(str(number)) | {"data": {}} for number in range(9)])
