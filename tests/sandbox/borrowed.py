# SPDX-License-Identifier: GPL-3.0-or-later
"""CLUSTER=CONTEXT: the demo on a cluster of the user's own. No node, Exoscale account or hub stand-in is involved.

Its GPU nodes must be there, prepared and described in inventories/platform, and carry the label that deployments look
for. Engineers get copies of the user's own credentials, so that here nothing but namespaces keeps them apart.
"""
from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from . import build
from .dockerd import SHARED
from .progress import SandboxError, output, say, stage

STATE = SHARED / "borrowed"
MARK = STATE / "context"  # of the cluster that the demo has used
KUBECONFIGS = STATE / "kubeconfigs"
OURS = ("namespace/selfhosted-llm", "namespace/llm-alice", "namespace/llm-bob")
LABEL = "app.kubernetes.io/managed-by=selfhosted.llm"
POOL = "selfhosted.llm/pool=llm"


def up(context: str) -> None:
    """Write kubeconfigs and the environment for a context of the user's own kubeconfig."""
    kubectl = ["kubectl", f"--context={context}"]
    if not MARK.exists() and output([*kubectl, "get", "--ignore-not-found", "-o=name", OURS[0]]):
        raise SandboxError(f"The cluster of the context {context} has this platform already, which the demo would change: "
                           "run site.yml with your own inventory there.")
    if not output([*kubectl, "get", "nodes", "-o=name", f"--selector={POOL}"]):
        raise SandboxError(f"No node of the context {context} has the label {POOL}, by which deployments find their GPUs: "
                           f"set it (kubectl label node NODE {POOL}), and describe the pool in inventories/platform.")
    KUBECONFIGS.mkdir(parents=True, exist_ok=True)
    MARK.write_text(context)
    text = output([*kubectl, "config", "view", "--raw", "--minify", "--flatten"])
    for name in ("admin", "alice", "bob"):
        path = KUBECONFIGS / f"{name}.yml"
        path.touch(0o600)
        path.write_text(text)
    values = {"KUBECONFIG": KUBECONFIGS / "admin.yml", "ANSIBLE_CONFIG": build.REPOSITORY / "ansible.cfg",
              "ANSIBLE_COLLECTIONS_PATH": build.REPOSITORY / ".venv/collections"}
    lines = [f"export {name}={shlex.quote(str(value))}" for name, value in values.items()]
    lines.append(f'export PATH={shlex.quote(str(build.REPOSITORY / ".venv/bin"))}:"$PATH"')
    (SHARED / "env").write_text("\n".join(lines) + "\n")
    say(f"{SHARED / 'env'} is for the cluster of the context {context}; no stand-in runs")


def down() -> None:
    """Remove what the demo made on the user's cluster, volumes included."""
    kubectl: list[str | Path] = ["kubectl", f"--kubeconfig={KUBECONFIGS / 'admin.yml'}", "delete", "--ignore-not-found"]
    with stage(f"removing the demo's namespaces from the cluster of the context {MARK.read_text()}"):
        output([*kubectl, *OURS])
        output([*kubectl, "clusterrolebindings,clusterroles", f"--selector={LABEL}"])
    shutil.rmtree(STATE)
    (SHARED / "env").unlink(missing_ok=True)
