# SPDX-License-Identifier: GPL-3.0-or-later
"""Command line: python -m tests.sandbox up|down [--name NAME]."""
from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys

from . import borrowed, build, cluster, dockerd, standins, tables
from .progress import SandboxError, say


def docker_answers() -> bool:
    """Is there a Docker engine of the user's own?"""
    if os.environ.get("DOCKER_HOST") == f"unix://{dockerd.SOCKET}" or not shutil.which("docker"):
        return False
    try:
        return subprocess.run(["docker", "info"], capture_output=True, timeout=10).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def up(name: str) -> None:
    if os.environ.get("CLUSTER"):
        borrowed.up(os.environ["CLUSTER"])
        return
    own = not docker_answers()
    if own and os.geteuid():
        raise SandboxError("No Docker engine answers, and a private one needs root: run as root, or start Docker.")
    this = cluster.Cluster(name, own)
    needs = [lambda: build.go("kind"), standins.files]
    if own:
        dockerd.install()
        needs = [*(lambda n=n: build.layer(n) for n in tables.NODE_LAYERS), build.workers_archive, *needs]
    with build.exclusive(build.CACHE / "lock", "the cache"):
        build.build(needs)
    cluster.tools(own)
    if own:
        dockerd.start()
    this.up()
    say(f"ready: . {this.state / 'env'}")


def down(name: str) -> None:
    if borrowed.MARK.exists() and name == tables.DEFAULT:
        borrowed.down()
        return
    own = not docker_answers()
    this = cluster.Cluster(name, own)
    this.delete()
    if this.state != dockerd.SHARED:
        shutil.rmtree(this.state, ignore_errors=True)
    if own and not cluster.others(name):
        dockerd.shut_down()
    say(f"{name} is down")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sandbox", description=cluster.__doc__)
    parser.add_argument("command", choices=("up", "down"))
    parser.add_argument("--name", choices=tables.SANDBOXES, default=tables.DEFAULT, help="which sandbox")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    try:
        with build.exclusive(dockerd.SHARED / "lock", "the sandbox"):
            {"up": up, "down": down}[arguments.command](arguments.name)
    except SandboxError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; `up` goes on where this stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
