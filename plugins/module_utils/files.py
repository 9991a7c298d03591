# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write files whole or not at all, and say when they were made."""

from __future__ import annotations

import os
import tempfile
from datetime import UTC, datetime


def write_private(path: str, text: str) -> None:
    """Replace a file with a secret atomically, mode 0600; missing directories are made with mode 0700."""
    write_atomically(path, text, 0o600)


def write_atomically(path: str, text: str, mode: int) -> None:
    """Replace a file atomically; missing directories are made with mode 0700."""
    directory = os.path.dirname(os.path.abspath(path))
    os.makedirs(directory, mode=0o700, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=directory, prefix=f".{os.path.basename(path)}.")  # 0600 by itself
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def now() -> str:
    """The time, as files of this collection tell when they were made (UTC, ISO 8601)."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
