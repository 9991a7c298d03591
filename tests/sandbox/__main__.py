# SPDX-License-Identifier: GPL-3.0-or-later
"""Command line: python -m tests.sandbox up|down|load IMAGE [--name NAME]."""
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
        needs = [*(lambda n=n: build.layer(n) for n in tables.NODE_LAYERS),
                 lambda: build.archive("worker-images", tables.FOR_WORKERS), *needs]
    with build.exclusive(build.CACHE / "lock", "the cache"):
        build.build(needs)
    cluster.tools(own)
    if own:
        dockerd.start()
    this.up()
    say(f"ready: . {this.state / 'env'}")


def load(name: str, image: str) -> None:
    this = cluster.Cluster(name, not docker_answers())
    if not this.kubeconfig.exists():
        raise SandboxError(f"The sandbox {name} is not up: run `python -m tests.sandbox up` first.")
    if this.own_engine:
        with build.exclusive(build.CACHE / "lock", "the cache"):
            build.build([lambda: build.archive(f"image-{image}", tables.ON_DEMAND[image])])
    this.load_on_demand(image)
    say(f"loaded: {', '.join(each.name for each in tables.ON_DEMAND[image])}")


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
    parser.add_argument("command", choices=("up", "down", "load"))
    parser.add_argument("image", nargs="?", choices=tables.ON_DEMAND, help="for load: which image the workers get")
    parser.add_argument("--name", choices=tables.SANDBOXES, default=tables.DEFAULT, help="which sandbox")
    arguments = parser.parse_args()
    if (arguments.command == "load") != bool(arguments.image):
        parser.error("load needs the name of an image, and nothing else takes one")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    try:
        with build.exclusive(dockerd.SHARED / "lock", "the sandbox"):
            if arguments.image:
                load(arguments.name, arguments.image)
            else:
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
