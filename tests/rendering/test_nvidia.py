# SPDX-License-Identifier: GPL-3.0-or-later
"""NVIDIA's parts run where the GPUs are, whatever the pools' taints; what is turned off leaves nothing."""

from __future__ import annotations

import pytest
import yaml

from .conftest import Objects

TAINT = {"nodepool": {"value": "llm", "effect": "NoSchedule"}}
POOLS = [
    {"name": "whole", "instance_type": "gpu3.medium", "size": 1, "device_list_strategy": "volume-mounts", "taints": {}},
    {"name": "halves", "instance_type": "gpu3.small", "size": 1, "slots_per_gpu": 2, "taints": TAINT},
]
PARTS = ["device-plugin", "gpu-feature-discovery", "nfd-worker", "dcgm-exporter"]


def nvidias(objects: Objects) -> Objects:
    return Objects(obj for obj in objects if obj["metadata"]["labels"]["app.kubernetes.io/instance"] == "nvidia-utilities")


@pytest.fixture(scope="module")
def platform(check):
    """NVIDIA's objects of a platform with these variables."""

    def platform(**variables) -> Objects:
        run = check({}, {"sks_gpu_nodes_pools": POOLS} | variables)
        assert run.status == 0, run.message
        return nvidias(run.objects["llm-frankfurt"])

    return platform


@pytest.fixture(scope="module")
def objects(platform) -> Objects:
    return platform()


def pod(objects: Objects, kind: str, name: str) -> dict:
    return objects.one(kind, name)["spec"]["template"]["spec"]


def config(objects: Objects, pool: str) -> dict:
    return yaml.safe_load(objects.one("ConfigMap", f"device-plugin-{pool}")["data"]["config.yaml"])


@pytest.mark.parametrize("part", PARTS)
def test_every_part_is_on_the_nodes_of_each_pool_and_tolerates_its_taints(objects, part):
    tolerated = {"key": "nodepool", "operator": "Equal", "value": "llm", "effect": "NoSchedule"}
    for pool, tolerations in (("whole", []), ("halves", [tolerated])):
        spec = pod(objects, "DaemonSet", f"{part}-{pool}")
        assert spec["nodeSelector"] == {"selfhosted.llm/pool": pool} and spec["tolerations"] == tolerations


def test_there_are_no_other_daemon_sets(objects):
    assert {obj["metadata"]["name"] for obj in objects.of("DaemonSet")} == {f"{part}-{pool['name']}" for part in PARTS for pool in POOLS}


def test_each_pool_shares_its_cards_in_its_own_way(objects):
    assert "sharing" not in config(objects, "whole")
    slicing = config(objects, "halves")["sharing"]["timeSlicing"]
    assert slicing["resources"] == [{"name": "nvidia.com/gpu", "replicas": 2}]
    assert slicing["failRequestsGreaterThanOne"] and not slicing["renameByDefault"]
    strategies = {pool["name"]: config(objects, pool["name"])["flags"]["plugin"]["deviceListStrategy"] for pool in POOLS}
    assert strategies == {"whole": ["volume-mounts"], "halves": ["cdi-cri"]}
    confined, trusted = (
        pod(objects, "DaemonSet", f"device-plugin-{pool}")["containers"][0]["securityContext"] for pool in ("halves", "whole")
    )
    assert confined == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert trusted == {"capabilities": {"add": ["SYS_ADMIN"]}}


def test_mps_has_its_daemon_where_cards_are_shared_alone(platform):
    objects = platform(nvidia_utilities_sharing="mps")
    assert "sharing" not in config(objects, "whole")
    assert config(objects, "halves")["sharing"] == {
        "mps": {"renameByDefault": False, "resources": [{"name": "nvidia.com/gpu", "replicas": 2}]}
    }
    assert [obj["metadata"]["name"] for obj in objects.of("DaemonSet") if "mps" in obj["metadata"]["name"]] == ["mps-control-daemon-halves"]
    daemon = pod(objects, "DaemonSet", "mps-control-daemon-halves")
    assert daemon["hostPID"] and daemon["nodeSelector"] == {"selfhosted.llm/pool": "halves"}
    root = config(objects, "halves")["flags"]["mpsRoot"]
    for spec in (daemon, pod(objects, "DaemonSet", "device-plugin-halves")):
        mounts = {mount["mountPath"]: mount["name"] for mount in spec["containers"][0]["volumeMounts"]}
        places = {volume["name"]: volume.get("hostPath", {}).get("path") for volume in spec["volumes"]}
        assert (places[mounts["/mps"]], places[mounts["/dev/shm"]]) == (root, f"{root}/shm")


def test_the_exporter_sees_the_processes_of_shared_cards_alone_and_profiles_only_when_told(objects, platform):
    def exporter(objects: Objects, pool: str = "halves") -> dict:
        return pod(objects, "DaemonSet", f"dcgm-exporter-{pool}")["containers"][0]

    for pool, shared in (("whole", False), ("halves", True)):
        assert ("KUBERNETES_VIRTUAL_GPUS" in str(exporter(objects, pool))) == shared
        assert ("DCGM_EXPORTER_KUBERNETES_ENABLE_POD_UID" in str(exporter(objects, pool))) == shared
        spec = pod(objects, "DaemonSet", f"dcgm-exporter-{pool}")
        assert (spec["automountServiceAccountToken"], spec.get("hostPID", False)) == (shared, shared)
    counters = objects.one("ConfigMap", "dcgm-exporter")["data"]["counters.csv"].splitlines()
    assert all(line.split(", ")[1] in ("gauge", "counter") for line in counters)
    assert {line.split(",")[0] for line in counters} >= {"DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_XID_ERRORS"}
    assert "PROF" not in str(counters) and "SYS_ADMIN" not in str(exporter(objects))
    profiling = platform(nvidia_utilities_dcgm_exporter_profiling=True)
    assert "PROF" in profiling.one("ConfigMap", "dcgm-exporter")["data"]["counters.csv"]
    assert exporter(profiling)["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["SYS_ADMIN"]}


def test_what_is_turned_off_leaves_nothing(platform, objects):
    parts = ("device_plugin", "gpu_feature_discovery", "node_feature_discovery", "dcgm_exporter", "policy")
    off = platform(**{f"nvidia_utilities_{part}": False for part in parts})
    assert [obj["kind"] for obj in off] == ["Namespace"]
    for part, mark in zip(parts, ("device-plugin", "gpu-feature", "nfd", "dcgm", "Policy"), strict=True):
        left = platform(**{f"nvidia_utilities_{part}": False})
        gone = {f"{obj['kind']}/{obj['metadata']['name']}" for obj in objects if obj not in left}
        assert gone and all(mark in name for name in gone), part


def test_a_runtime_class_only_where_nvidias_runtime_is_not_the_default(objects, platform):
    assert not objects.of("RuntimeClass") and "runtimeClassName" not in str(objects)
    named = platform(nvidia_utilities_runtime_handler="nvidia")
    assert named.one("RuntimeClass")["handler"] == "nvidia"
    for obj in named.of("DaemonSet"):
        sees_gpus = "NVIDIA_VISIBLE_DEVICES" in str(obj)
        assert (obj["spec"]["template"]["spec"].get("runtimeClassName") == named.one("RuntimeClass")["metadata"]["name"]) == sees_gpus


def test_the_policy_knows_every_taint_and_a_pool_without_one(platform, objects):
    def reaches(objects: Objects) -> str:
        (variable,) = [entry for entry in objects.one("ValidatingAdmissionPolicy")["spec"]["variables"] if entry["name"] == "reachesGpus"]
        return variable["expression"]

    assert reaches(objects) == "true"
    assert '["", "nodepool"]' in reaches(platform(sks_gpu_nodes_pools=POOLS[1:]))


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"sks_gpu_nodes_pools": [POOLS[1] | {"slots_per_gpu": 0}]}, "slots_per_gpu of pool halves in sks_gpu_nodes_pools is 0: give 1"),
        (
            {"sks_gpu_nodes_pools": [POOLS[1] | {"slots_per_gpu": 49}], "nvidia_utilities_sharing": "mps"},
            "slots_per_gpu of pool halves in sks_gpu_nodes_pools is 49, and MPS lets at most 48",
        ),
        ({"nvidia_utilities_sharing": "mig"}, "value of nvidia_utilities_sharing must be one of: time-slicing, mps, got: mig"),
    ],
)
def test_contradictions_are_refused_before_anything_is_made(check, variables, said):
    run = check({}, {"sks_gpu_nodes_pools": POOLS} | variables)
    assert run.status and said in run.message and not nvidias(run.objects.get("llm-frankfurt", Objects()))


def test_several_cards_of_a_shared_pool_are_refused(check):
    run = check({"llama_cpp": {"alice-two": {"llm_gpu": 2}}}, {"sks_gpu_nodes_pools": [POOLS[1] | {"instance_type": "gpu3.medium"}]})
    assert "alice-two: llm_gpu: no pool gives 2 GPU" in run.message and "tensor parallelism" in run.message


def test_more_deployments_than_a_pool_has_slots_are_refused(check):
    judged, forced = {"llm_gpu": 0.5, "llm_force": False}, {"llm_gpu": 0.5}
    two, few = {"alice-a": judged, "alice-b": judged}, {"sks_gpu_nodes_pools": POOLS[1:]}
    assert check({"llama_cpp": two | {"alice-c": forced, "alice-d": judged | {"llm_replicas": 0}}}, few).status == 0
    run = check({"llama_cpp": two | {"alice-c": judged}}, few)
    assert run.status and "alice-a, alice-b, alice-c: llm_replicas: together they take 3 nvidia.com/gpu" in run.message
