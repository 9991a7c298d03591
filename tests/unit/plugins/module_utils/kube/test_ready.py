# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.kube import ready
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import KubeError


class Cluster:
    """A cluster with some pods, whose log is one line."""

    def __init__(self, *pods, log="the engine's own error line"):
        self.pods = list(pods)
        self.log = log

    def request(self, method, path, query=None, **_rest):
        return {"items": self.pods}

    def text(self, path, query=None, timeout=30):
        if not self.log:
            raise KubeError("no log", 400)
        return self.log


def deployment(**status) -> dict:
    return {
        "kind": "Deployment",
        "metadata": {"name": "a", "namespace": "n", "generation": 2},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"x": "y"}}},
        "status": {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1} | status,
    }


def pod(**status) -> dict:
    return {"metadata": {"name": "p", "namespace": "n", "creationTimestamp": "2026-01-01T00:00:00Z"}, "status": status}


def container(state: dict, **more) -> dict:
    return pod(containerStatuses=[{"name": "server", "state": state} | more])


def test_a_deployment_with_its_pod_is_done():
    assert ready.state(Cluster(), deployment(availableReplicas=1)).done


@pytest.mark.parametrize("status", [{"availableReplicas": 0}, {"availableReplicas": 1, "observedGeneration": 1}, {"replicas": 2}])
def test_an_old_or_partial_status_is_not_done(status):
    assert not ready.state(Cluster(pod()), deployment(**status)).done


def test_a_pod_that_no_node_takes_says_why_and_may_still_come():
    waiting = pod(conditions=[{"type": "PodScheduled", "status": "False", "message": "Insufficient nvidia.com/gpu"}])
    assert ready.state(Cluster(waiting), deployment()) == (False, False, "no node takes the pod: Insufficient nvidia.com/gpu", False)


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("CrashLoopBackOff", "container server: CrashLoopBackOff: the engine's own error line"),
        ("ImagePullBackOff", "container server: ImagePullBackOff: the engine's own error line"),
    ],
)
def test_a_hopeless_container_fails_with_its_last_words(reason, text):
    assert ready.state(Cluster(container({"waiting": {"reason": reason}})), deployment()) == (False, True, text, False)


@pytest.mark.parametrize("status", [{"observedGeneration": 1}, {"updatedReplicas": 0}])
def test_pods_of_a_former_state_do_not_fail_the_present_one(status):
    crashed = container({"waiting": {"reason": "CrashLoopBackOff"}})
    assert ready.state(Cluster(crashed), deployment(**status)) == (False, False, "waiting for a pod", False)


def test_out_of_memory_is_named():
    ended = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    crashed = container({"waiting": {"reason": "CrashLoopBackOff"}}, lastState=ended)
    assert "out of memory" in ready.state(Cluster(crashed, log=""), deployment()).text


def test_a_refused_pod_fails_with_the_quota():
    refused = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}
    assert ready.state(Cluster(), deployment(conditions=[refused])) == (False, True, "no pod is allowed: exceeded quota", False)


def test_jobs_end_complete_or_failed():
    job = deployment() | {"kind": "Job", "status": {"conditions": [{"type": "Complete", "status": "True"}]}}
    assert ready.state(Cluster(), job).done
    failed = job | {"status": {"conditions": [{"type": "Failed", "status": "True"}]}}
    ended = container({"terminated": {"exitCode": 3, "message": "no space left"}})
    assert ready.state(Cluster(ended), failed) == (False, True, "container server: exit code 3: no space left", True)


def test_a_pod_that_its_node_refuses_says_why():
    job = {"kind": "Job", "metadata": {"name": "j", "namespace": "n"}, "spec": {"selector": {"matchLabels": {"x": "y"}}}}
    failed = job | {"status": {"conditions": [{"type": "Failed", "status": "True"}]}}
    refused = pod(phase="Failed", reason="UnexpectedAdmissionError", message="Allocate failed due to no healthy devices")
    assert ready.state(Cluster(refused), failed).text == "UnexpectedAdmissionError: Allocate failed due to no healthy devices"


def test_a_running_job_reports_its_last_line():
    job = deployment() | {"kind": "Job", "status": {}}
    assert ready.state(Cluster(container({"running": {}}), log="42 % at 10 MiB/s"), job).text == "42 % at 10 MiB/s"


def test_a_daemonset_is_done_when_every_node_runs_the_present_state():
    daemons = deployment() | {"kind": "DaemonSet"}
    counts = {"observedGeneration": 2, "desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberReady": 2}
    assert ready.state(Cluster(), daemons | {"status": counts}).done
    assert not ready.state(Cluster(), daemons | {"status": counts | {"numberReady": 1}}).done
