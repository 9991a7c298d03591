# SPDX-License-Identifier: GPL-3.0-or-later
"""Which GPU nodes are tested, what becomes of the Jobs, and what is shown."""

from __future__ import annotations

import pytest

from ansible_collections.selfhosted.llm.plugins.action import gpu_check
from ansible_collections.selfhosted.llm.plugins.module_utils.doctor.evidence import GPU
from ansible_collections.selfhosted.llm.plugins.module_utils.doctor.node_evidence import NodeEvidence
from ansible_collections.selfhosted.llm.plugins.module_utils.gpu import pool_record
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.vectoradd import Taken

POOL = pool_record({"name": "llm", "instance_type": "gpu3.small", "size": 1, "slots_per_gpu": 2})
PASSED = {"passed": True, "time": "2026-11-28T18:00:00Z", "seconds": 7, "words": "Test PASSED"}


def node(name: str = "w1", slots: int = 2) -> NodeEvidence:
    status = {"allocatable": {GPU: str(slots)}, "conditions": [{"type": "Ready", "status": "True"}]}
    return NodeEvidence(POOL, "2026-11-28T18:00:00+00:00", [name], {"metadata": {"name": name}, "spec": {}, "status": status})


@pytest.fixture
def row(monkeypatch):
    """What is known of a node whose slots these pods hold."""

    def row(evidence: NodeEvidence, held: dict[str, int], former: dict | None = None, only_untested: bool = False) -> dict:
        monkeypatch.setattr(gpu_check, "holders", lambda _kube, _node: held)
        return gpu_check._row(None, evidence, former or {}, only_untested)

    return row


class Trials:
    """A test that ends like this, by node; an exception is raised."""

    def __init__(self, **ends):
        self.ends = ends

    def start(self, _kube, evidence):
        if evidence.name not in self.ends:
            raise KeyError(evidence.name)
        return {"name": evidence.name}

    def finish(self, _kube, evidence, _job, _report):
        if isinstance(end := self.ends[evidence.name], Exception):
            raise end
        return end


@pytest.fixture
def run(monkeypatch):
    """Test these nodes; returns their rows, the kept results, and the Jobs that were removed."""

    def run(tests: Trials, *names: str) -> tuple[dict, dict, list]:
        kept: dict = {}
        removed: list = []
        monkeypatch.setattr(gpu_check.vectoradd, "keep", lambda _kube, results: kept.update(results))
        monkeypatch.setattr(gpu_check, "delete_object", lambda _kube, job, check_mode: removed.append(job["name"]))
        rows = {name: {"test": gpu_check.DUE, "cause": "", "why": ""} for name in names}
        try:
            gpu_check._test(None, tests, [(node(name), rows[name]) for name in names], {"w0": PASSED}, lambda text, elapsed: None)
        except KeyError:
            pass
        return rows, kept, removed

    return run


def test_a_free_node_is_tested(row):
    assert row(node(), {"llm-alice/chat": 1})["test"] == gpu_check.DUE


def test_a_busy_one_is_not_and_its_tenants_are_named(row):
    busy = row(node(), {"llm-alice/chat": 1, "llm-bob/chat": 1})
    assert busy["test"] == gpu_check.BUSY and not busy["cause"]
    assert busy["why"] == "All slots of node w1 are held: llm-alice/chat (1), llm-bob/chat (1)."


def test_one_that_does_not_advertise_its_slots_is_not_tested_but_told_why(row):
    unproved = row(node(slots=1), {})
    assert (unproved["test"], unproved["cause"]) == (gpu_check.UNPROVED, "no_plugin") and "Node w1 of pool llm has" in unproved["why"]


def test_a_platform_run_leaves_out_what_has_passed_before(row):
    assert row(node(), {}, PASSED, only_untested=True)["test"] == "passed"
    assert row(node(), {}, PASSED)["test"] == gpu_check.DUE
    assert row(node(), {}, PASSED | {"passed": False}, only_untested=True)["test"] == gpu_check.DUE


def test_results_are_kept_beside_those_of_other_nodes_and_the_jobs_removed(run):
    failed = PASSED | {"passed": False, "words": "no CUDA-capable device is detected"}
    rows, kept, removed = run(Trials(w1=PASSED, w2=failed, w3=Taken()), "w1", "w2", "w3")
    assert kept == {"w0": PASSED, "w1": PASSED, "w2": failed} and removed == ["w1", "w2", "w3"]
    assert [row["test"] for row in rows.values()] == ["passed", "failed", gpu_check.BUSY]
    assert [row["cause"] for row in rows.values()] == ["", "vectoradd", ""]
    assert rows["w2"]["why"] == "Node w2 does not compute: no CUDA-capable device is detected."


def test_a_run_that_breaks_off_removes_what_it_made(run):
    _rows, kept, removed = run(Trials(w1=PASSED), "w1", "w2")
    assert kept == {} and removed == ["w1"]


def test_the_table():
    rows = [
        {"node": "w1", "pool": "llm", "card": "NVIDIA-A40", "slots": 2, "wanted": 2, "test": "passed", "why": ""} | PASSED,
        {"node": "", "pool": "llm", "card": "", "slots": 0, "wanted": 2, "test": "not tested", "why": "Pool llm has too few nodes."},
    ]
    assert gpu_check._lines(rows) == [
        "node  pool  card        nvidia.com/gpu  vectoradd   seconds  last test",
        "w1    llm   NVIDIA-A40  2 of 2          passed      7        2026-11-28T18:00:00Z",
        "-     llm   -           0 of 2          not tested  -        -",
        "Pool llm has too few nodes.",
    ]
    assert gpu_check._lines([]) == ["There is no GPU node to check."]
