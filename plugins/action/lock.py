# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action behind selfhosted.llm.lock; its documentation is in plugins/modules/lock.py."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor

from ansible.utils.display import Display

from ansible_collections.selfhosted.llm.plugins.module_utils import hub
from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError, library
from ansible_collections.selfhosted.llm.plugins.module_utils.files import write_atomically
from ansible_collections.selfhosted.llm.plugins.module_utils.inventory_rules import Source
from ansible_collections.selfhosted.llm.plugins.module_utils.weights import in_words
from ansible_collections.selfhosted.llm.plugins.plugin_utils import models
from ansible_collections.selfhosted.llm.plugins.plugin_utils.preflight import LOCK, Preflight

HEADER = """\
# Written by playbooks/lock.yml: run it again to take what the models' revisions name by then, and review it like code.
# A deployment in it installs exactly these files.
---
"""


class ActionModule(Preflight):
    """Write the models of the play's deployments, at the commit that their revision names now, into their inventories."""

    _supports_diff = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        values = self.checked_values(task_vars)
        wanted = [models.Wanted(host, mine["engine"], mine | {"llm_locks": None}) for host, mine in values.items()]
        found = models.find(wanted, dict.fromkeys(values, []))
        entries: dict[str, dict] = {}
        for model in wanted:
            try:
                entries[model.host] = _entry(model, found[model.host])
            except UserError as error:
                self.problems.append(f"{model.host}: llm_model: {error}")
        hosts: dict[str, list[str]] = {}
        for source in self.sources():
            hosts.setdefault(self._place(source), []).extend(source.groups["all"])
        locked = {place: self._read(place) for place in hosts}
        self.stop_on_problems()
        files, diffs = [], []
        for place, before in locked.items():
            mine = {host: entries[host] for host in hosts[place] if host in entries}
            # What this run does not cover stays; what left the inventory goes.
            after = {host: entry for host, entry in before.items() if host in hosts[place]} | mine
            for host, entry in mine.items():
                Display().display(f"{host}: {_said(before.get(host), entry)}")
            if after == before:
                continue
            text = self._text(after)
            files.append(place)
            diffs.append({"before_header": place, "after_header": place, "before": _content(place), "after": text})
            if not self._task.check_mode:
                write_atomically(place, text, 0o644)
        return result | {"changed": bool(files), "files": files} | ({"diff": diffs} if self._task.diff else {})

    def _place(self, source: Source) -> str:
        """The lock file of an inventory source."""
        return os.path.join(source.path if os.path.isdir(source.path) else os.path.dirname(source.path), LOCK)

    def _read(self, place: str) -> dict[str, dict]:
        """The entries of a lock file by host; none where there is no file."""
        content = self._loader.load_from_file(place) if os.path.exists(place) else {}
        try:
            return {host: entry for group in content.values() for host, entry in group["vars"]["llm_locks"].items()}
        except (AttributeError, KeyError, TypeError):
            self.problems.append(f"{place} is not as playbooks/lock.yml writes it: remove it, and run this again.")
            return {}

    def _text(self, locks: dict[str, dict]) -> str:
        """A lock file: an inventory with a variable of each engineer's group."""
        groups: dict[str, dict] = {}
        for host in sorted(locks):
            group = groups.setdefault(f"engineer_{self.variables.engineer(host)}", {"vars": {"llm_locks": {}}})
            group["vars"]["llm_locks"][host] = locks[host]
        plain = json.loads(json.dumps(groups))  # without Ansible's tags, which YAML's safe dumper does not know
        return HEADER + library("yaml", "PyYAML").safe_dump(plain, sort_keys=False, width=1000)


def _content(place: str) -> str:
    """The text of a file; empty where there is none."""
    if not os.path.exists(place):
        return ""
    with open(place, encoding="utf-8") as file:
        return file.read()


def _entry(model: models.Wanted, found: models.Found | UserError) -> dict:
    """What is locked of a deployment; raises the UserError where its model was not found."""
    if isinstance(found, UserError):
        raise found
    snapshot = found.snapshot
    with ThreadPoolExecutor(hub.THREADS) as threads:
        digests = list(threads.map(lambda file: hub.sha256_of(model.question, snapshot.commit, file), found.weights.files))
    return {
        "engine": model.engine,
        "model": model.values["llm_model"],
        "revision": model.values["llm_revision"],
        "repo": snapshot.repo,
        "commit": snapshot.commit,
        "licence": snapshot.licence,
        "files": [
            {"path": file.path, "size": file.size, "sha256": digest} for file, digest in zip(found.weights.files, digests, strict=True)
        ],
    }


def _said(before: dict | None, after: dict) -> str:
    """How a deployment's lock changes, in words."""
    size = sum(file["size"] for file in after["files"])
    if before == after:
        return f"stays at {after['repo']}@{after['commit'][:7]}"
    former = f", before {before['repo']}@{before['commit'][:7]}" if before else ""
    return f"locked at {after['repo']}@{after['commit'][:7]}, {in_words(size)}{former}"
