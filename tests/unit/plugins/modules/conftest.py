# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules run as on a managed node, whatever other tests of this process have imported of Ansible's control node."""

from __future__ import annotations

import pytest
from ansible.module_utils import _internal


@pytest.fixture(autouse=True)
def managed_node(monkeypatch):
    """Warnings go into the module's result; on a control node Ansible would print them."""
    monkeypatch.setattr(_internal, "is_controller", False)
