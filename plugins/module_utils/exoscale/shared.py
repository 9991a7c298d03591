# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Exoscale listed for one module of a run, kept for the next ones."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil

from ansible_collections.selfhosted.llm.plugins.module_utils.files import write_private

# Operations whose answers every module starts from. None of them has a secret.
SHARED = ("list-zones", "list-sks-clusters", "list-instance-types")


class SharedLists:
    """Answers in files of a folder. A module takes each once at most: what it reads again, it reads to see the truth.

    Args:
        folder: where they are; it need not exist. None: nothing is shared.
        whose: address of the API, zone, and API key, for which alone the answers hold.
    """

    def __init__(self, folder: str | None, *whose: str):
        self._folder = folder
        self._whose = hashlib.sha256("\n".join(whose).encode()).hexdigest()
        self._untaken = set(SHARED)
        self._taken = False

    def take(self, operation: str) -> dict | None:
        """The answer that another module got, the first time that this one asks; else None."""
        if not self._folder or operation not in self._untaken:
            return None
        self._untaken.remove(operation)
        try:
            with open(self._file(operation), encoding="utf-8") as file:
                answer = json.load(file)
        except (OSError, ValueError):
            return None
        self._taken = True
        return answer

    def put(self, operation: str, answer: dict) -> None:
        """Keep an answer for the next modules; where that fails, they ask themselves."""
        if self._folder and operation in SHARED:
            with contextlib.suppress(OSError):
                write_private(self._file(operation), json.dumps(answer))

    def forget(self) -> bool:
        """Remove all answers, and share none from now on; return whether this module had taken any."""
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)
        taken, self._folder, self._taken = self._taken, None, False
        return taken

    def _file(self, operation: str) -> str:
        return os.path.join(self._folder, f"{operation}-{self._whose}.json")
