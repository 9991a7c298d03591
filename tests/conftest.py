# SPDX-License-Identifier: GPL-3.0-or-later
"""What all tests share: the stand-ins for the hub and for Exoscale's API, and its modules run on the latter."""

from __future__ import annotations

import importlib
import importlib.util
import json
import ssl
import sys
import threading
import time
from pathlib import Path

import pytest
from ansible.module_utils import urls
from ansible.module_utils.testing import patch_module_args

from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale import client, resource

# What may not be in any output: the secret, and what a kubeconfig is made of, in the two forms that it has.
SECRETS = ("secret-of-the-sandbox", "client-key-data", "PRIVATE KEY", "LS0tLS1CRUdJTi")



@pytest.fixture(scope="session")
def hub_module():
    """The program of the hub stand-in, as a module."""
    spec = importlib.util.spec_from_file_location("sandbox_hub", Path(__file__).parent / "sandbox/hub.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.Handler.log_message = lambda *_: None
    return module


@pytest.fixture(scope="session")
def exoscale_module():
    """The program of the stand-in for Exoscale's API, as a module."""
    sys.path.append(str(Path(__file__).parent / "sandbox"))  # where its parts are, as when it is started
    import exoscale_api

    exoscale_api.Handler.log_message = lambda *_: None
    return exoscale_api


@pytest.fixture
def exoscale_server(exoscale_module, monkeypatch):
    """A running stand-in for Exoscale's API and the environment to use it; nothing of the machine's own exo is seen."""
    server = exoscale_module.Exoscale(("127.0.0.1", 0), seconds=0.0)
    for name in ("EXOSCALE_ZONE", "EXOSCALE_ACCOUNT", "EXOSCALE_CONFIG", "EXOSCALE_TRACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EXOSCALE_API_KEY", exoscale_module.catalogue.KEY)
    monkeypatch.setenv("EXOSCALE_API_SECRET", exoscale_module.catalogue.SECRET)
    monkeypatch.setenv("EXOSCALE_API_ENDPOINT", server.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # Half of a module's time would go into loading certificates that plain HTTP has no use for.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    monkeypatch.setattr(urls, "make_context", lambda *_, **__: context)
    threading.Thread(target=server.serve_forever, args=(0.003,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
    assert not server.broken


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
