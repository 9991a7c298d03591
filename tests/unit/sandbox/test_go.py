# SPDX-License-Identifier: GPL-3.0-or-later
"""The stand-ins that are written in Go, by tests in Go beside them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "sandbox/images/go"
SETTINGS = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}


@pytest.mark.parametrize("package", sorted({test.parent.name for test in SOURCES.glob("*/*_test.go")}))
def test_package(package):
    done = subprocess.run(["go", "test", f"./{package}"], cwd=SOURCES, env=os.environ | SETTINGS, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
