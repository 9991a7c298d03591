# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs every test of this directory on both transports; on the real exo only where EXO_BIN names it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.rendering.conftest import check

__all__ = ["check"]
EXO = os.environ.get("EXO_BIN")


@pytest.fixture(params=["library", *(["exo"] if EXO else [])])
def transport(request, tmp_path) -> str:
    """The transport in use: a program exo on PATH, which is tmp_path alone here, or none."""
    if request.param == "exo":
        (tmp_path / "exo").symlink_to(Path(EXO).resolve(strict=True))
    return request.param


def pytest_terminal_summary(terminalreporter):
    if EXO:
        terminalreporter.write_line(f"Both transports were tested, exo with {EXO}.")
    else:
        terminalreporter.write_line(
            "NOTE: EXO_BIN is not set: the library was tested, the exo transport was NOT. Run `EXO_BIN=/path/to/exo make contract`.",
            yellow=True,
        )
