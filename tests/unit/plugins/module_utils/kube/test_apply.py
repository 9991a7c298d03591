# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import copy

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.kube import apply
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import KubeError

DESIRED = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "a", "namespace": "n", "labels": {"x": "y"}},
    "spec": {
        "replicas": 1,
        "template": {"spec": {"containers": [{"name": "c", "args": ["-c", "1"], "ports": [{"containerPort": 80}]}]}},
    },
}
FIELDS = {
    "f:metadata": {"f:labels": {"f:x": {}}},
    "f:spec": {
        "f:replicas": {},
        "f:template": {
            "f:spec": {
                "f:containers": {
                    'k:{"name":"c"}': {
                        ".": {},
                        "f:name": {},
                        "f:args": {},
                        "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
                    }
                }
            }
        },
    },
}


def live(**changes) -> dict:
    """DESIRED as a cluster would return it after it was applied: defaults filled in, field ownership recorded."""
    obj = copy.deepcopy(DESIRED)
    obj["spec"]["strategy"] = {"type": "RollingUpdate"}
    obj["spec"]["template"]["spec"]["containers"][0]["ports"][0]["protocol"] = "TCP"
    obj["metadata"] |= {"uid": "u", "resourceVersion": "1"}
    obj["metadata"]["managedFields"] = [{"manager": apply.MANAGER, "operation": "Apply", "fieldsV1": copy.deepcopy(FIELDS)}]
    return obj


def test_what_was_applied_is_recognised_without_asking():
    assert apply.is_applied(DESIRED, live())


def test_numbers_written_as_text_are_the_same():
    present = live()
    present["spec"]["replicas"] = "1"
    assert apply.is_applied(DESIRED, present)


@pytest.mark.parametrize(
    "edit",
    [
        lambda obj: obj["spec"].update(replicas=2),
        lambda obj: obj["metadata"]["labels"].clear(),
        lambda obj: obj["spec"]["template"]["spec"]["containers"][0]["args"].append("--more"),
        lambda obj: obj["spec"]["template"]["spec"]["containers"].clear(),
    ],
)
def test_drift_is_seen(edit):
    present = live()
    edit(present)
    assert not apply.is_applied(DESIRED, present)


@pytest.mark.parametrize(
    "drop",
    [
        lambda obj: obj["spec"].pop("replicas"),
        lambda obj: obj["metadata"].pop("labels"),
        lambda obj: obj["spec"]["template"]["spec"]["containers"][0].pop("ports"),
    ],
)
def test_a_field_no_longer_wanted_is_seen(drop):
    desired = copy.deepcopy(DESIRED)
    drop(desired)
    assert not apply.is_applied(desired, live())


def test_an_object_of_another_manager_is_never_taken_as_applied():
    present = live()
    present["metadata"]["managedFields"][0]["manager"] = "kubectl"
    assert not apply.is_applied(DESIRED, present)


class Cluster:
    """Answers requests from a list of (status, body) and remembers them."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.requests = []

    def request(self, method, path, body=None, query=None, content_type="", timeout=30):
        self.requests.append((method, path, query))
        answer = self.answers.pop(0)
        if isinstance(answer, KubeError):
            raise answer
        return answer


def test_an_applied_object_costs_no_request():
    cluster = Cluster()
    assert apply.apply_object(cluster, DESIRED, False, live()).action == "unchanged"
    assert cluster.requests == []


def test_check_mode_asks_for_a_dry_run_only():
    cluster = Cluster(live())
    present = live()
    present["spec"]["replicas"] = 3
    assert apply.apply_object(cluster, DESIRED, True, present).action == "changed"
    ((method, _path, query),) = cluster.requests
    assert method == "PATCH" and query["dryRun"] == "All"


def test_a_missing_namespace_in_check_mode_is_marked_as_not_validated():
    change = apply.apply_object(Cluster(KubeError("namespaces n not found", 404, "NotFound")), DESIRED, True, {})
    assert change.action == "created" and not change.validated
    assert "not validated" in str(change)


def test_a_missing_namespace_is_a_sentence_otherwise():
    with pytest.raises(KubeError, match="the namespace n does not exist"):
        apply.apply_object(Cluster(KubeError("namespaces n not found", 404, "NotFound")), DESIRED, False, {})


def test_a_field_taken_over_names_its_former_manager():
    cause = {"field": ".spec.replicas", "message": 'conflict with "kubectl" using apps/v1'}
    conflict = KubeError("conflict", 409, "Conflict", {"causes": [cause]})
    cluster = Cluster(conflict, live())
    change = apply.apply_object(cluster, DESIRED, False, live() | {"spec": {"replicas": 2}})
    assert change.taken_over == ('spec.replicas: conflict with "kubectl" using apps/v1',)
    assert cluster.requests[1][2]["force"] == "true"


def test_a_diff_hides_secrets_and_shows_that_they_differ():
    def secret(value: str) -> dict:
        data = {"token": base64.b64encode(value.encode()).decode()}
        return {"kind": "Secret", "metadata": {"name": "s", "uid": "u"}, "data": data}

    change = apply.Change("Secret", "n", "s", "changed", secret("first-value"), secret("second-value"))
    shown = apply.diff(change)
    assert shown["before"] != shown["after"]
    for value in ("first-value", "second-value"):
        assert base64.b64encode(value.encode()).decode() not in str(shown)
