# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-ins outside the cluster (Exoscale's API, the Hugging Face hub): processes in the engine's network."""
from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from . import build, dockerd, tables, tiny_llama
from .progress import fail, stage


def files() -> None:
    """Lay out the hub's tree: the real model, and the tiny one's repositories."""
    hub = dockerd.SHARED / "hub"
    target = hub / tables.MODEL["path"]
    if not target.exists() or target.stat().st_size != tables.MODEL["size"]:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(build.model(), part := target.with_suffix(".part"))
        part.rename(target)
    tiny = tiny_llama.files()
    small = {f"{repo}/{name}": data for repo in tables.TINY_LLAMA for name, data in tiny.items()}
    small |= {f"{repo}/README.md": f"---\nlicense: {licence}\n---\n".encode() for repo, licence in tables.LICENCES.items()}
    for name, data in small.items():
        (hub / name).parent.mkdir(parents=True, exist_ok=True)
        if not (hub / name).exists() or (hub / name).read_bytes() != data:
            (hub / name).write_bytes(data)


def port(name: str, sandbox: str) -> int:
    """Port of a stand-in in a sandbox."""
    return tables.STANDINS[name][1] + tables.SANDBOXES[sandbox]


def start(sandbox: str, state: Path, address: str, prefix: list[str]) -> None:
    """Start the stand-ins that do not run; `prefix` brings a program into the network that has `address`."""
    python = build.REPOSITORY / ".venv/bin/python"
    namespace = prefix[1].partition("=")[2] if prefix else "/proc/self/ns/net"
    for name, (script, _, arguments) in tables.STANDINS.items():
        listen = f"{address}:{port(name, sandbox)}"
        path, pid_file, log = build.HERE / script, state / f"{name}.pid", state / "log" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        key = build.digest(*sorted(build.HERE.rglob("*.py")))
        pid = dockerd.is_ours(pid_file, script, listen)
        if pid and Path(f"/proc/{pid}/ns/net").readlink() == Path(namespace).readlink():
            if (state / f"{name}.key").exists() and (state / f"{name}.key").read_text() == key:
                continue
        dockerd.stop(pid)
        with stage(f"starting the stand-in {name} on {listen}"):
            words = [word.format(state=state, shared=dockerd.SHARED) for word in arguments]
            with log.open("ab") as out:
                process = subprocess.Popen(
                    [*prefix, python if python.exists() else sys.executable, path, "--listen", listen, *words],
                    stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, cwd=build.REPOSITORY)
            pid_file.write_text(str(process.pid))
            (state / f"{name}.key").write_text(key)
            for _ in range(100):
                if process.poll() is not None:
                    fail(f"The stand-in {name} ended with exit code {process.returncode}", log)
                try:
                    socket.create_connection((address, port(name, sandbox)), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.1)
            else:
                fail(f"The stand-in {name} does not listen on {listen}", log)


def stop(state: Path) -> None:
    """Stop the stand-ins of one sandbox."""
    for name, (script, _, _) in tables.STANDINS.items():
        dockerd.stop(dockerd.is_ours(state / f"{name}.pid", script), patience=3)
        for suffix in ("pid", "key"):
            (state / f"{name}.{suffix}").unlink(missing_ok=True)
