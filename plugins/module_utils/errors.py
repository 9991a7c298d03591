# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Failures that a user reads as they are, and the most frequent of them."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType


class UserError(Exception):
    """A failure as a sentence: what is wrong, where, and the cure. It never holds a secret."""


def library(name: str, package: str = "") -> ModuleType:
    """Import a library that not every task needs, at the time when it is needed.

    Args:
        name: the module to import.
        package: what to install where that is called otherwise.

    Raises:
        UserError: it is missing; the text names the interpreter and the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        package = package or name.partition(".")[0]
        raise UserError(
            f"The Python library {package} is missing in {sys.executable}: run `{sys.executable} -m pip install {package}`."
        ) from None
