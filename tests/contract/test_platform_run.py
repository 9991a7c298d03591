# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole run of the platform, as make bench measures it: what its modules ask Exoscale."""

from __future__ import annotations

from tests.bench import platform


def test_the_modules_of_a_run_ask_for_each_list_once():
    assert platform.measure()["calls"] == {"list-zones": 1, "list-sks-clusters": 1, "list-instance-types": 1}
