# SPDX-License-Identifier: GPL-3.0-or-later
"""Whole runs of what the platform asks of Exoscale, as make bench measures them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import yaml

from tests.bench import REPOSITORY, platform


def test_the_modules_of_a_run_ask_for_each_list_once():
    assert platform.measure()["calls"] == {"list-zones": 1, "list-sks-clusters": 1, "list-instance-types": 1}


def test_an_interrupted_run_leaves_nothing_that_the_next_one_does_not_take_over(exoscale_server, exoscale, tmp_path):
    """Ctrl-C while Exoscale works on a pool: it goes on there, and the next run finds it instead of making another."""
    (tmp_path / "play.yml").write_text(yaml.safe_dump(platform.play(tmp_path)))
    environment = os.environ | {
        "HOME": str(tmp_path),
        "PATH": os.defpath,
        "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }

    def start() -> subprocess.Popen:
        command = [sys.executable, "-m", "ansible", "playbook", tmp_path / "play.yml", "-i", "platform,"]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    exoscale_server.faults.append({"operation": "create-sks-nodepool", "ends": "never"})
    interrupted = start()
    while "get-operation" not in exoscale_server.calls or "create-sks-nodepool" not in exoscale_server.calls:
        assert interrupted.poll() is None, interrupted.stdout.read()
        time.sleep(0.05)
    interrupted.send_signal(signal.SIGINT)
    assert "Traceback" not in interrupted.communicate()[0] and interrupted.returncode

    exoscale_server.heal()
    again = start()
    text = again.communicate()[0]
    assert again.returncode == 0, text
    pools = exoscale("sks_nodepool_info", cluster="llm")["nodepools"]
    assert [(pool["name"], pool["size"]) for pool in pools] == [("system", 1), ("gpu", 2)]
