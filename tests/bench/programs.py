# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs that the bench needs, built from Go modules into the sandbox's cache."""
from __future__ import annotations

from pathlib import Path

from tests.sandbox import build
from tests.sandbox.steps import GoModule

HELM = GoModule("helm.sh/helm/v4@v4.3.1", "h1:UndCoLe9UPmNoL7IvWzaUXveL7T5t/ijoorEmgJdI9g=", "./cmd/helm")
# Its own command is another module, which the module proxy does not have; testdata is a directory that no package is in.
GGUF_PARSER = GoModule("github.com/gpustack/gguf-parser-go@v0.28.1", "h1:El6BAuJnpKI43nElOMc2erMtHQCv0ttu40WFJFf1Moo=", "./testdata",
                       files=(("testdata/main.go", Path(__file__).with_name("gguf_parser.go").read_text()),))


def kubernetes() -> Path:
    """The sandbox's binary with etcd and the API server."""
    return build.go("kubernetes")


def kubectl() -> Path:
    return build.go("kubectl")


def helm() -> Path:
    return build.go_module("helm", HELM)


def gguf_parser() -> Path:
    return build.go_module("gguf-parser", GGUF_PARSER)
