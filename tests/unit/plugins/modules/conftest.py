# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of the modules for Exoscale share."""

from __future__ import annotations

import importlib
import json
import time

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale import client, resource

# What may not be in any output: the secret, and what a kubeconfig is made of, in the two forms that it has.
SECRETS = ("secret-of-the-sandbox", "client-key-data", "PRIVATE KEY", "LS0tLS1CRUdJTi")


class FastTime:
    """Time that sleeping brings forward instead of waiting for it."""

    def __init__(self):
        self._slept = 0.0

    def sleep(self, seconds: float) -> None:
        self._slept += seconds

    def monotonic(self) -> float:
        return time.monotonic() + self._slept


@pytest.fixture
def fast(monkeypatch):
    """The client waits in fast time."""
    for module in (client, resource):
        monkeypatch.setattr(module, "time", FastTime())


@pytest.fixture
def exoscale(exoscale_server, fast, tmp_path, monkeypatch, capsys):
    """Run a module on the stand-in; returns its result, with the ``calls`` that it took and the ``writes`` among them."""
    monkeypatch.setenv("PATH", str(tmp_path))  # without exo

    def run(module: str, check: bool = False, **options) -> dict:
        exoscale_server.calls.clear()
        given = {"zone": "de-fra-1", "timeout": 60} | options | {"_ansible_check_mode": check, "_ansible_diff": True}
        with patch_module_args(given), pytest.raises(SystemExit):
            importlib.import_module(f"ansible_collections.selfhosted.llm.plugins.modules.{module}").main()
        output = capsys.readouterr().out
        assert not [secret for secret in SECRETS if secret in output]
        calls = dict(exoscale_server.calls)
        writes = [name for name in calls if not name.startswith(("list-", "get-"))]
        return json.loads(output) | {"calls": calls, "writes": writes}

    return run
