# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps that fill a layer's tree. A step is data (its hash names the product) with one method, apply(root, kit)."""
from __future__ import annotations

import functools
import json
import os
import shlex
import shutil
import subprocess
import threading
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .progress import SandboxError, output, run, say

HERE = Path(__file__).parent
MERGED = ("bin", "sbin", "lib", "lib64")  # links into usr/, as in every Debian
_locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


class Kit(Protocol):
    """What a step may use of the builder."""
    work: Path  # scratch directory of this layer
    log: Path
    cache: Path

    def go(self, program: str) -> Path: ...
    def python(self) -> Path: ...


def mirror() -> str:
    """Address of the Debian archive that this machine's own apt is set up with."""
    lines = output(["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages"])
    for line in lines.splitlines():
        origin, _, uri = line.partition(" ")
        if origin == "Debian" and "security" not in uri:
            return uri
    raise SandboxError("No Debian archive in this machine's apt sources (or `apt-get update` never ran): the sandbox "
                       "needs one to fetch packages from.")


def merge(root: Path) -> None:
    """Make the links of a merged /usr, before packages are unpacked on them."""
    for name in MERGED:
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(f"usr/{name}")


@functools.cache
def _apt(suite: str, cache: Path, log: Path) -> list[str]:
    """apt-get with settings and fresh lists of its own, apart from the machine's, for one suite."""
    apt = cache / "tmp" / f"apt-{suite}"
    for folder in ("lists/partial", "archives/partial"):
        (apt / folder).mkdir(parents=True)
    (apt / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror()} {suite} main\n")
    (apt / "status").touch()
    settings = {"Dir::Etc::SourceList": apt / "sources.list", "Dir::Etc::SourceParts": "/dev/null", "Dir::State": apt,
                "Dir::State::status": apt / "status", "Dir::Cache": apt, "Acquire::Check-Valid-Until": "false",
                "Acquire::Languages": "none", "APT::Sandbox::User": "root"}
    command = ["apt-get", "-q", *(f"-o{key}={value}" for key, value in settings.items())]
    run([*command, "update"], log)
    return command


@dataclass(frozen=True)
class GoModule:
    """A program of somebody's Go module, built with that module's own pins after some of its files were replaced."""
    module: str  # path@version
    sum: str  # of the module in Go's checksum database; its go.sum, which is in it, pins the rest
    package: str
    flags: str = ""  # for the linker
    files: tuple[tuple[str, str], ...] = ()  # path and text
    inside: tuple[tuple[str, str, str], ...] = ()  # modules that it has in its own tree: path there, path@version, sum


@dataclass(frozen=True)
class Files:
    """Small files with their text."""
    texts: dict[str, str]

    def apply(self, root: Path, kit: Kit) -> None:
        for name, text in self.texts.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)


@dataclass(frozen=True)
class Copy:
    """A file of this directory."""
    source: str
    target: str
    mode: int = 0o644

    def apply(self, root: Path, kit: Kit) -> None:
        (root / self.target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(HERE / self.source, root / self.target)
        (root / self.target).chmod(self.mode)


@dataclass(frozen=True)
class Move:
    """A file of the tree to another place in it."""
    path: str
    target: str

    def apply(self, root: Path, kit: Kit) -> None:
        (root / self.target).parent.mkdir(parents=True, exist_ok=True)
        (root / self.path).rename(root / self.target)


@dataclass(frozen=True)
class Links:
    """Symbolic links to one target, where nothing is yet."""
    target: str
    folder: str
    names: str

    def apply(self, root: Path, kit: Kit) -> None:
        (root / self.folder).mkdir(parents=True, exist_ok=True)
        for name in self.names.split():
            path = root / self.folder / name
            if not os.path.lexists(path):
                path.symlink_to(self.target)


@dataclass(frozen=True)
class Go:
    """A program of images/go."""
    program: str
    target: str

    def apply(self, root: Path, kit: Kit) -> None:
        (root / self.target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(kit.go(self.program), root / self.target)
        (root / self.target).chmod(0o755)


@dataclass(frozen=True)
class Debs:
    """Debian packages of one suite, exactly these, unpacked but not configured; apt checks signature and sha256."""
    suite: str
    packages: str
    expect: tuple[str, str] | None = None  # a package and the start of its version (without epoch) that tables.py names
    without: tuple[str, ...] = ()

    def apply(self, root: Path, kit: Kit) -> None:
        debs = kit.work / "debs"
        debs.mkdir()
        with _locks[self.suite]:
            apt = _apt(self.suite, kit.cache, kit.log.with_name("build-apt.log"))
            run([*apt, "download", *self.packages.split()], kit.log, cwd=debs)
        for deb in sorted(debs.glob("*.deb")):
            name, version = deb.name.split("_")[:2]
            if self.expect and name == self.expect[0] and not version.split("%3a")[-1].startswith(self.expect[1]):
                say(f"NOTE: Debian {self.suite} now has {name} {version}, not {self.expect[1]} as tables.py says; "
                    "the image keeps the tag of the table")
            tar = kit.work / "data.tar"
            with tar.open("wb") as out:
                subprocess.run(["dpkg-deb", "--fsys-tarfile", deb], stdout=out, check=True)
            run(["tar", "-C", root, "--keep-directory-symlink", "-xf", tar], kit.log)  # unlike dpkg-deb -x
        for path in self.without:
            (root / path).unlink()


@dataclass(frozen=True)
class Check:
    """A command that must work inside the tree: a missing library shows here and not in a pod."""
    command: str

    def apply(self, root: Path, kit: Kit) -> None:
        devices = root / "dev"  # torch asks for random bytes
        devices.mkdir()
        run(["unshare", "--mount", "sh", "-c", 'mount --rbind /dev "$0/dev" && exec chroot "$0" "$@"', root,
             *shlex.split(self.command)], kit.log)
        devices.rmdir()


@dataclass(frozen=True)
class Wheels:
    """Python packages of a requirements file with hashes, for Python 3.11."""
    requirements: str
    target: str

    def apply(self, root: Path, kit: Kit) -> None:
        run([kit.python(), "-m", "pip", "install", "--quiet", "--no-compile", "--require-hashes", "--no-deps",
             "--only-binary=:all:", "--python-version=3.11", "--platform=manylinux2014_x86_64",
             "--platform=manylinux_2_17_x86_64", "--platform=manylinux_2_28_x86_64", f"--target={root / self.target}",
             "-r", HERE / self.requirements], kit.log)


@dataclass(frozen=True)
class Bootstrap:
    """A whole configured Debian; in a mount namespace of its own, so that an interruption leaves no mounts."""
    suite: str
    packages: str

    def apply(self, root: Path, kit: Kit) -> None:
        run(["unshare", "--mount", "debootstrap", "--variant=minbase", f"--include={','.join(self.packages.split())}",
             self.suite, root, mirror()], kit.log)


@dataclass(frozen=True)
class KindFiles:
    """Entrypoint, units and settings of kind's node image, from kind's own Go module."""

    def apply(self, root: Path, kit: Kit) -> None:
        module = json.loads(output(["go", "mod", "download", "-json", "sigs.k8s.io/kind"], cwd=HERE / "images/go"))
        source = Path(module["Dir"]) / "images/base/files"
        for path in sorted(source.rglob("*")):
            if path.is_file() and path.suffix != ".txt":
                target = root / path.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
                target.chmod(0o755 if target.parent.name == "bin" else 0o644)


@dataclass(frozen=True)
class Script:
    """A shell script of this directory, run inside the tree."""
    source: str

    def apply(self, root: Path, kit: Kit) -> None:
        with (HERE / self.source).open("rb") as script:
            run(["chroot", root, "sh", "-s"], kit.log, stdin=script)
