# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules that keep several engineers' inventories apart, checked on each inventory source by itself.

Ansible merges ``group_vars/all`` and engine groups of all inventories given with -i, so that one engineer's token could
become another's. What could mix is refused before anything is written.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from .engines import CONTRACTS

ENGINES = tuple(CONTRACTS)
ENGINEER_GROUP = re.compile(r"engineer_([a-z]([a-z0-9]*[a-z0-9])?)")
HOST_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
OWN_VARIABLE = re.compile(rf"(llm|{'|'.join(ENGINES)})_")


class Source(NamedTuple):
    """One inventory source by itself.

    Attributes:
        path: as given with -i.
        groups: host names by group.
        variables: for ``all`` and each engine group, the variables set for it and the file that sets them.
    """

    path: str
    groups: dict[str, list[str]]
    variables: dict[str, dict[str, str]]


def engineer_of(groups: list[str]) -> str | None:
    """The engineer's name by the groups of a host; None without exactly one engineer group."""
    names = [match[1] for group in groups if (match := ENGINEER_GROUP.fullmatch(group))]
    return names[0] if len(names) == 1 else None


def engine_of(groups: list[str]) -> str | None:
    """The engine by the groups of a host; None without exactly one engine group."""
    engines = [group for group in groups if group in ENGINES]
    return engines[0] if len(engines) == 1 else None


def problems(sources: list[Source], merged: dict[str, list[str]]) -> list[str]:
    """All that is wrong with the deployments of these sources, a sentence each.

    Args:
        merged: the groups of each host as Ansible sees them when all sources are used together.
    """
    found = []
    defined: dict[str, list[str]] = {}
    groups: dict[str, set[str]] = {}
    for source in sources:
        members = {host for group, hosts in source.groups.items() if group != "sks_clusters" for host in hosts}
        members -= set(source.groups.get("sks_clusters", ())) | {"localhost"}
        for host in members:
            defined.setdefault(host, []).append(source.path)
            groups.setdefault(host, set()).update(group for group, hosts in source.groups.items() if host in hosts)
        for group, variables in source.variables.items():
            found += [
                f"{name} is set for group {group} in {file}, where it would reach every engineer's deployments: "
                "move it to the vars of your group engineer_<name> or of the host."
                for name, file in variables.items()
                if OWN_VARIABLE.match(name)
            ]
    for host, paths in sorted(defined.items()):
        if len(paths) > 1:
            found.append(f"{host} is defined in {' and in '.join(paths)}: give one of the deployments another name.")
            continue
        mine = _host_problems(host, groups[host], paths[0])
        foreign = {group for group in merged.get(host, ()) if group.startswith("engineer_")} - groups[host]
        if foreign and not mine:
            others = [source.path for source in sources if foreign & set(source.groups)]
            mine = [
                f"{host} in {paths[0]} becomes a member of {' and '.join(sorted(foreign))} together with {' and '.join(others)}: "
                "no engine group may be a child of an engineer's group; list the hosts in both groups instead."
            ]
        found += mine
    return found


def _host_problems(host: str, groups: set[str], path: str) -> list[str]:
    where = f"{host} in {path}"
    engineers = sorted(group for group in groups if group.startswith("engineer_"))
    engines = sorted(groups.intersection(ENGINES))
    choice = " or ".join(ENGINES)
    if not engines:
        return [f"{where} is in no engine group: put it under {choice}."]
    if len(engines) > 1:
        return [f"{where} is in two engine groups, {' and '.join(engines)}: leave it in one."]
    if len(engineers) != 1:
        say = f"is in the engineer groups {' and '.join(engineers)}" if engineers else "is in no engineer group"
        return [f"{where} {say}: it must be in exactly one group engineer_<name>."]
    match = ENGINEER_GROUP.fullmatch(engineers[0])
    if not match:
        return [f"{where}: the group {engineers[0]} must be engineer_ and a name of lowercase letters and digits."]
    if not HOST_NAME.fullmatch(host) or len(host) > 40 or not host.startswith(f"{match[1]}-"):
        return [f"{where}: a deployment's name starts with {match[1]}-, has lowercase letters, digits and '-', and at most 40 characters."]
    return []
