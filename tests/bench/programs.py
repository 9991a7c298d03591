# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs that the bench needs, built from Go modules into the sandbox's cache."""
from __future__ import annotations

import os
from pathlib import Path

from tests.sandbox import build, tables
from tests.sandbox.progress import run, stage

HELM = Path(__file__).parent / "helm"  # go.mod and go.sum pin it


def kubernetes() -> Path:
    """The sandbox's binary with etcd and the API server."""
    return build.go("kubernetes")


def kubectl() -> Path:
    """kubectl by itself: as a part of the sandbox's one binary it would start 70 ms later."""
    return _built("kubectl", build.GO_SOURCES, "k8s.io/kubernetes/cmd/kubectl",
                  f"-X k8s.io/component-base/version.gitVersion={tables.KUBERNETES}")


def helm() -> Path:
    return _built("helm", HELM, "helm.sh/helm/v4/cmd/helm")


def _built(name: str, module: Path, package: str, flags: str = "") -> Path:
    env = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}

    def make(work: Path, out: Path) -> None:
        with stage(f"compiling {name} (Go; minutes when nothing is cached)"):
            run(["go", "build", "-trimpath", "-ldflags", f"-s -w {flags}", "-o", out, package], build.log(name),
                cwd=module, env=env)

    return build.product(name, build.digest(module / "go.mod", module / "go.sum", package, flags), make)
