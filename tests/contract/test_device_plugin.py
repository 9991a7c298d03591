# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration that the role renders, read by NVIDIA's own types of the release that it installs."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

PROGRAM = Path(__file__).parent / "device_plugin"
ROLE = Path(__file__).parents[2] / "roles/nvidia_utilities"
POOLS = [
    {"name": "whole", "instance_type": "gpu3.medium", "size": 1, "device_list_strategy": "envvar"},
    {"name": "halves", "instance_type": "gpu3.small", "size": 1, "slots_per_gpu": 2},
    {"name": "quarters", "instance_type": "gpu3.small", "size": 1, "slots_per_gpu": 4, "device_list_strategy": "volume-mounts"},
]


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """Have a configuration read: read(text) is what NVIDIA's types understood, and what was said of errors."""
    place = tmp_path_factory.mktemp("device_plugin")
    environment = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}
    subprocess.run(["go", "build", "-o", place / "program", "."], cwd=PROGRAM, env=environment, check=True)

    def read(text: str) -> tuple[dict, str]:
        (place / "config.yaml").write_text(text)
        run = subprocess.run([place / "program", "--config-file", place / "config.yaml"], capture_output=True, text=True)
        return json.loads(run.stdout or "{}"), run.stderr

    return read


@pytest.fixture(scope="module", params=["time-slicing", "mps"])
def configs(request, check) -> dict[str, str]:
    """The configuration of each pool, with each way to share cards, which is the first of the items."""
    run = check({}, {"sks_gpu_nodes_pools": POOLS, "nvidia_utilities_sharing": request.param})
    assert run.status == 0, run.message
    objects = run.objects["llm-frankfurt"]
    texts = {pool["name"]: objects.one("ConfigMap", f"device-plugin-{pool['name']}")["data"]["config.yaml"] for pool in POOLS}
    return {"sharing": request.param} | texts


def test_nvidias_types_understand_it(read, configs):
    for pool in POOLS:
        slots = pool.get("slots_per_gpu", 1)
        said, errors = read(configs[pool["name"]])
        assert not errors
        assert said == {
            "Sharing": configs["sharing"] if slots > 1 else "none",
            "Replicas": {"nvidia.com/gpu": slots} if slots > 1 else {},
            "RefusesMoreThanOne": slots > 1,
            "DeviceList": [pool.get("device_list_strategy", "cdi-cri")],
            "MPSRoot": "/run/nvidia/mps",
        }


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["flags", "plugin", "deviceListStrategies"], ["cdi-cri"], "unknown fields: .flags.plugin.deviceListStrategies"),
        (["sharing", "timeSlicing", "replicas"], 2, "unknown fields: .sharing.timeSlicing.replicas"),
        (["flags", "plugin", "deviceListStrategy"], ["cdi"], "invalid strategy: cdi"),
        (["version"], "v2", "unknown version: v2"),
        (["sharing", "timeSlicing", "resources", 0, "replicas"], 1, "number of replicas must be >= 2"),
        (["sharing", "timeSlicing", "resources", 0, "count"], 2, "unknown fields: .sharing.timeSlicing.resources[].count"),
    ],
)
def test_what_they_do_not_understand_is_an_error(read, configs, path, value, said):
    config = yaml.safe_load(configs["halves"].replace("mps:", "timeSlicing:"))
    place = config
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert said in read(yaml.safe_dump(config))[1]


def test_the_types_are_those_of_the_image():
    image = yaml.safe_load((ROLE / "defaults/main.yml").read_text())["nvidia_utilities_device_plugin_image"]
    assert f"github.com/NVIDIA/k8s-device-plugin {image.rpartition(':')[2]}\n" in (PROGRAM / "go.mod").read_text()
