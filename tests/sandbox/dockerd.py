# SPDX-License-Identifier: GPL-3.0-or-later
"""The private Docker engine: dockerd and all its containers in network, mount and pid namespaces of their own.

Everything hangs on one process (`files/engine.sh`, first of its pid namespace): when it ends, by `down`, by kill -9 or
by a reboot, the kernel ends every container, mount and interface with it. So there is nothing to clean but files.
"""
from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from . import build, images, tables
from .progress import SandboxError, fail, output, run, say, stage

SHARED = build.REPOSITORY / ".sandbox"
PID, SOCKET, SAVED = SHARED / "engine.pid", SHARED / "docker.sock", SHARED / "sysctl.json"
LOG = SHARED / "log/dockerd.log"
CGROUPS = Path("/sys/fs/cgroup")
SYS_RESOURCE = 24  # number of the capability


def is_ours(pid_file: Path, *words: str) -> int | None:
    """The process of a pid file, if it still lives and its command line holds all `words`."""
    try:
        pid = int(pid_file.read_text())
        line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except (OSError, ValueError):
        return None
    return pid if all(any(word in part for part in line) for word in words) else None


def stop(pid: int | None, patience: float = 10) -> None:
    """SIGTERM, and SIGKILL when `patience` seconds did not help."""
    if pid is None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        for _ in range(int(patience * 20)):
            if not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text():
                return
            time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)


def running() -> int | None:
    """Pid, as the machine sees it, of the first process in the engine's namespaces."""
    outer = is_ours(PID, "unshare", str(build.HERE / "files/engine.sh"))
    if outer is None:
        return None
    inner = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
    return int(inner[0]) if inner else None


def enter(pid: int) -> list[str]:
    """Command prefix that runs a program of the machine in the engine's network."""
    return ["nsenter", f"--net=/proc/{pid}/ns/net"]


def install() -> None:
    """Install the Debian packages that are missing, without starting or enabling their services."""
    missing = sorted({package for command, package in tables.HOST_PACKAGES.items() if not shutil.which(command)})
    if not missing:
        return
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    log = SHARED / "log/apt.log"
    with stage(f"installing Debian packages: {' '.join(missing)}"):
        if ours:
            policy.write_text("#!/bin/sh\nexit 101\n")
            policy.chmod(0o755)
        try:
            env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            run(["apt-get", "-q", "update"], log)
            run(["apt-get", "-q", "-y", "install", "--no-install-recommends", *missing], log, env=env)
            if Path("/run/systemd/system").exists():
                run(["systemctl", "disable", "docker.service", "docker.socket", "containerd.service"], log)
        finally:
            if ours:
                policy.unlink()


def _sysctl(name: str) -> Path:
    return Path("/proc/sys") / name.replace(".", "/")


def _remember_sysctls() -> None:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    if not SAVED.exists() or json.loads(SAVED.read_text())["boot"] != boot:
        before = {name: _sysctl(name).read_text().strip() for name in tables.SYSCTLS}
        SAVED.write_text(json.dumps({"boot": boot, "values": before}))
    for name, least in tables.SYSCTLS.items():
        if least and int(_sysctl(name).read_text()) < least:
            _sysctl(name).write_text(str(least))


def _restore_sysctls() -> None:
    if SAVED.exists():
        for name, value in json.loads(SAVED.read_text())["values"].items():
            if _sysctl(name).read_text().strip() != value:
                _sysctl(name).write_text(value)
        SAVED.unlink()


def _lacks_sys_resource() -> bool:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("CapBnd:"))
    return not int(line.split()[1], 16) >> SYS_RESOURCE & 1


def client() -> dict[str, str]:
    """Environment in which `docker` and `kind` talk to the private engine."""
    return {**os.environ, "DOCKER_HOST": f"unix://{SOCKET}", "PATH": f"{SHARED}/bin:{os.environ['PATH']}"}


def start() -> int:
    """Start the engine unless it runs; its containers of an earlier life are removed."""
    pid = running()
    if pid and subprocess.run(["docker", "version"], env=client(), capture_output=True).returncode == 0:
        return pid
    if len(str(SOCKET)) > 100:
        raise SandboxError(f"The path {SOCKET} is too long for a socket: check the repository out at a shorter path.")
    _refuse_another()
    with stage("starting the Docker engine in its own namespaces"):
        kill()
        _remember_sysctls()
        LOG.parent.mkdir(parents=True, exist_ok=True)
        arguments = [tables.SERVICES, "dockerd", f"--data-root={SHARED}/docker", "--exec-root=/run/docker",
                     "--pidfile=/run/docker.pid", f"--host=unix://{SOCKET}", "--exec-opt=native.cgroupdriver=cgroupfs",
                     f"--cgroup-parent={tables.LINK}", f"--bip={tables.BRIDGE}", f"--dns={tables.SANDBOX_ADDRESS}"]
        if _lacks_sys_resource():
            arguments += [f"--add-runtime=sandbox={build.HERE}/files/runc.sh", "--default-runtime=sandbox"]
        with LOG.open("ab") as log:
            process = subprocess.Popen(
                ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh",
                 build.HERE / "files/engine.sh", *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        PID.write_text(str(process.pid))
        for _ in range(300):
            if process.poll() is not None:
                break
            pid = running()
            if pid and subprocess.run(["docker", "version"], env=client(), capture_output=True).returncode == 0:
                _join(pid)
                stale = output(["docker", "ps", "-aq"], env=client()).split()
                if stale:
                    run(["docker", "rm", "-f", "-v", *stale], LOG, env=client())
                return pid
            time.sleep(0.1)
        fail("The Docker engine does not answer", LOG)
    raise AssertionError


def _join(pid: int) -> None:
    """Join the engine's network to the machine's by a pair of interfaces."""
    link, log = tables.LINK, SHARED / "log/network.log"
    run(["ip", "link", "add", link, "type", "veth", "peer", "name", "sandbox", "netns", str(pid)], log)
    for prefix, device, address in (([], link, tables.HOST_ADDRESS), (enter(pid), "sandbox", tables.SANDBOX_ADDRESS)):
        run([*prefix, "ip", "address", "add", f"{address}/{tables.PREFIX}", "dev", device], log)
        run([*prefix, "ip", "link", "set", device, "up"], log)
    run(["ip", "link", "set", link, "alias", SHARED], log)


def _refuse_another() -> None:
    """There is one link and one set of addresses on a machine: leave them to a sandbox of another checkout that runs."""
    alias = Path(f"/sys/class/net/{tables.LINK}/ifalias")
    other = Path(alias.read_text().strip()) if alias.exists() else SHARED
    if other != SHARED and is_ours(other / PID.name, "unshare"):
        raise SandboxError(f"The sandbox of {other.parent} runs on this machine: remove it with `make demo-down` there.")


def kill() -> None:
    """End the engine and all in its namespaces, and remove what the kernel leaves: link and empty control groups."""
    stop(is_ours(PID, "unshare", str(build.HERE / "files/engine.sh")), patience=0)
    PID.unlink(missing_ok=True)
    SOCKET.unlink(missing_ok=True)
    for _ in range(50):
        if not Path(f"/sys/class/net/{tables.LINK}").exists():
            break
        subprocess.run(["ip", "link", "delete", tables.LINK], capture_output=True)
        time.sleep(0.05)
    for top in [*CGROUPS.glob(tables.LINK), *CGROUPS.glob(f"*/{tables.LINK}")]:
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)


def shut_down() -> None:
    """End the engine for good, with its images and containers: `down` of the last cluster."""
    with stage("stopping the Docker engine"):
        kill()
        _restore_sysctls()
        shutil.rmtree(SHARED / "docker", ignore_errors=True)


def load(image: images.Image) -> None:
    """Load `image` into the engine, unless it is there; older ones of the same name go."""
    repository = image.name.rpartition(":")[0]
    known = output(["docker", "images", "--format", "{{.Repository}}:{{.Tag}}", repository], env=client()).split()
    if image.name in known:
        return
    with stage("loading the node image"):
        parts = {name: build.layer(name) for name in image.layers}
        loader = subprocess.Popen(["docker", "load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, env=client())
        try:
            images.docker_archive(loader.stdin, image, parts)
            loader.stdin.close()
        except BrokenPipeError:
            pass
        message = loader.stdout.read().decode()
        if loader.wait():
            raise SandboxError(f"docker load of the node image failed: {message.strip()}")
    for name in known:
        if subprocess.run(["docker", "rmi", name], env=client(), capture_output=True).returncode == 0:
            say(f"removed the old node image {name}")
