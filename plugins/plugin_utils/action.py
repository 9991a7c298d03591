# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the action plugins of this collection have in common."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

from ansible.constants import DEFAULT_LOCAL_TMP
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import Kube

KUBECONFIG = {
    "kubeconfig": {"type": "path", "required": True},
    "context": {"type": "str"},
}
# Of what works on one live deployment.
DEPLOYMENT = {
    "namespace": {"type": "str", "required": True},
    "instance": {"type": "str", "required": True},
}


class ClusterAction(ActionBase):
    """An action that works on a cluster: validated arguments, check mode, and errors as sentences.

    A subclass sets ``argument_spec`` and implements ``execute``.
    """

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True
    argument_spec: dict = {}

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        self._vars = task_vars or {}
        # Plain containers: Ansible's own are slow to copy, and validation copies all arguments.
        self._task.args = json.loads(json.dumps(self._task.args, default=str))
        _checked, args = self.validate_argument_spec({**KUBECONFIG, **self.argument_spec})
        try:
            return result | self.execute(args, self._vars.get("inventory_hostname", "localhost"))
        except UserError as error:
            raise AnsibleActionFail(str(error)) from None

    def execute(self, args: dict, host: str) -> dict:
        """Do the work for one host and return the task's result."""
        raise NotImplementedError

    @contextmanager
    def cluster(self, args: dict) -> Iterator[Kube | None]:
        """The cluster that the arguments name.

        None in check mode, where the kubeconfig is missing because this very run would make it.
        """
        kubeconfig = os.path.expanduser(args["kubeconfig"])
        if self._task.check_mode and self._vars["groups"].get("sks_clusters") and not os.path.exists(kubeconfig):
            yield None
            return
        kube = Kube(kubeconfig, args["context"])
        try:
            yield kube
        finally:
            kube.close()


class ExoscaleAction(ActionBase):
    """Runs the module of the action's name with what the run's modules share, and says that it still waits.

    A subclass sets ``what``, the sort of thing that the module's option ``named_by`` names.
    """

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True
    what = ""
    named_by = "name"

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        report = Progress(task_vars["inventory_hostname"], float(self._task.args.get("timeout", 1200)))
        text = f"{self.what} {self._task.args.get(self.named_by, '')}: waiting for Exoscale"
        start, done = time.monotonic(), threading.Event()

        def tell() -> None:
            while not done.wait(5.0):
                report(text, time.monotonic() - start)

        threading.Thread(target=tell, daemon=True).start()
        try:
            return result | self._execute_module(
                module_args=self._task.args | self._shared(task_vars["inventory_hostname"]), task_vars=task_vars
            )
        finally:
            done.set()

    def _shared(self, host: str) -> dict:
        """The module's option for what the modules of one run share: one folder for each host, as hosts run side by side.

        A module that runs elsewhere, or as another user, has no part in it, and may make it out of date.
        """
        folder = os.path.join(DEFAULT_LOCAL_TMP, f"exoscale-{quote(host, safe='')}")
        if self._connection.transport == "local" and not self._connection.become:
            return {"shared_lists": folder}
        shutil.rmtree(folder, ignore_errors=True)
        return {}


class Progress:
    """Says what one host is waiting for: at each change of text, and else every few seconds.

    Args:
        host: the inventory host in front of each line.
        limit: seconds after which the wait ends.
    """

    def __init__(self, host: str, limit: float):
        self.host = host
        self.limit = limit
        self._every = 5.0 if sys.stdout.isatty() else 30.0
        self._text = ""
        self._next = 0.0

    def __call__(self, text: str, elapsed: float) -> None:
        now = time.monotonic()
        # Percentages change all the time: only another stage is worth a line at once.
        stage = text.rstrip("0123456789.%").split(":")[0]
        if stage == self._text and now < self._next:
            return
        self._text, self._next = stage, now + self._every
        Display().display(f"  {self.host}: {text} ({elapsed:.0f} s of at most {self.limit:.0f} s)")
