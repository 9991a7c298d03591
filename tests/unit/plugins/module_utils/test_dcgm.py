# SPDX-License-Identifier: GPL-3.0-or-later
"""What is relied upon of dcgm-exporter is what the role has it export."""

from __future__ import annotations

from pathlib import Path

import yaml

from ansible_collections.selfhosted.llm.plugins.module_utils.dcgm import METRICS, VERSION

ROLE = Path(__file__).parents[4] / "roles/nvidia_utilities"


def test_the_exporter_exports_just_these():
    variables = yaml.safe_load((ROLE / "vars/main/dcgm_exporter.yml").read_text())
    assert {*METRICS} == {name for name, _kind, _help in variables["nvidia_utilities_device_counters"]}


def test_the_exporter_is_of_the_version_that_they_were_taken_from():
    assert f":{VERSION}" in yaml.safe_load((ROLE / "defaults/main.yml").read_text())["nvidia_utilities_dcgm_exporter_image"]
