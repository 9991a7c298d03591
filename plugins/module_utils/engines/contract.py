# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What this collection relies on in an engine's pinned version: one table for each engine, in the module of its name."""

from __future__ import annotations

from typing import NamedTuple


class Contract(NamedTuple):
    """What one version of an engine reads, serves and measures.

    Attributes:
        title: the engine's name in words.
        version: the version that the table was made of, as the default image's tag has it.
        flags: every spelling of every option of the command line -> how many values it takes, 0 or 1; -1 for any number.
        ours: options and environment variables that the role sets -> the variable of the inventory that decides them.
        removed: options of former versions -> the nearest that there is now, empty where there is none.
        environment: the environment variables that it reads.
        prefixes: beginnings of further environment variables, which libraries under it read.
        keyed: routes that need the API key where one is set, in the order of their use; what is published of the engine.
        unkeyed: routes that are open even so.
        several_keys: whether it takes more than one API key.
        metrics: names of all metrics on ``/metrics`` that dashboards and alerts may use, as Prometheus sees them.
    """

    title: str
    version: str
    flags: dict[str, int]
    ours: dict[str, str]
    removed: dict[str, str]
    environment: frozenset[str]
    prefixes: tuple[str, ...]
    keyed: tuple[str, ...]
    unkeyed: tuple[str, ...]
    several_keys: bool
    metrics: tuple[str, ...]
