# SPDX-License-Identifier: GPL-3.0-or-later
"""Prometheus' own tool for rules, built from the module that the sandbox's Prometheus is built from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.sandbox import build, tables


def promtool() -> Path:
    """The program; the first call compiles it, which takes minutes."""
    return build.go_module("promtool", replace(tables.GO_MODULES["prometheus"], package="./cmd/promtool"))
