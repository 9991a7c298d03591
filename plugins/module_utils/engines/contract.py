# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What this collection relies on in an engine's pinned version: one table for each engine, in the module of its name."""

from __future__ import annotations

from typing import NamedTuple

# What the C library, Python, OpenSSL, CUDA and NCCL read under each of the engines.
COMMON = frozenset(
    """
    ALL_PROXY HTTPS_PROXY HTTP_PROXY LANG LD_LIBRARY_PATH LD_PRELOAD NO_PROXY PATH SSL_CERT_DIR SSL_CERT_FILE TMPDIR TZ XDG_CACHE_HOME
    XDG_CONFIG_HOME all_proxy http_proxy https_proxy no_proxy
    """.split()
)
COMMON_PREFIXES = ("CUBLAS", "CUDA_", "GOMP_", "LC_", "MALLOC_", "NCCL_", "NVIDIA_", "OMP_")


class Contract(NamedTuple):
    """What one version of an engine reads, serves and measures.

    Attributes:
        title: the engine's name in words.
        version: the version that the table was made of, as the default image's tag has it.
        flags: every spelling of every option of the command line -> how many values it takes; -1 for any number.
        equals: whether an option's value may follow it after ``=``.
        nested: whether a part of an option's JSON value may be given by itself, as ``--option.key value``.
        ours: options and environment variables that the role sets -> the inventory's variable that decides them, empty where none does.
        removed: options and environment variables of former versions -> what there is instead, empty where there is nothing.
        environment: the environment variables that it reads.
        prefixes: beginnings of further environment variables, which libraries under it read.
        keyed: routes that need the API key where one is set, in the order of their use; what is published of the engine.
        unkeyed: routes that are open even so.
        several_keys: whether it can be given more than one API key.
        metrics: all metrics on ``/metrics`` that dashboards and alerts may use, as Prometheus sees them, histograms by their base names.
        rare: those of ``metrics`` that are not there before what they count has happened, be it a failure.
    """

    title: str
    version: str
    flags: dict[str, int]
    equals: bool
    nested: bool
    ours: dict[str, str]
    removed: dict[str, str]
    environment: frozenset[str]
    prefixes: tuple[str, ...]
    keyed: tuple[str, ...]
    unkeyed: tuple[str, ...]
    several_keys: bool
    metrics: tuple[str, ...]
    rare: tuple[str, ...] = ()


def options(none: str = "", one: str = "", many: str = "", switches: str = "") -> dict[str, int]:
    """Contract.flags from names in words: without a value, with one, with any number, and without a value but with a ``--no-`` twin."""
    return {
        name: values
        for names, values in ((none, 0), (one, 1), (many, -1), (switches, 0), (switches.replace("--", "--no-"), 0))
        for name in names.split()
    }


def ours(nothing: str, **variables: str) -> dict[str, str]:
    """Contract.ours from names in words, by the variable that decides them; `nothing` are those that none does."""
    return {name: variable for variable, names in variables.items() for name in names.split()} | dict.fromkeys(nothing.split(), "")
