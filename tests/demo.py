# SPDX-License-Identifier: GPL-3.0-or-later
"""make demo: the main job on the sandbox, as a new user would run it, and again to show that nothing changes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
INVENTORIES = ("inventories/platform", "inventories/alice", "inventories/bob")
KUBECONFIGS = f"{REPOSITORY}/.sandbox/borrowed/kubeconfigs"
# With CLUSTER: nobody's nodes and monitoring are touched, and images and hub are the real ones.
BORROWED = ("--skip-tags", "exoscale,nvidia_utilities,monitoring", "-e", f"llm_kubeconfig_dir={KUBECONFIGS}",
            "-e", f"sks_gpu_nodes_kubeconfig={KUBECONFIGS}/admin.yml")


def main() -> int:
    """Bring the sandbox up and run site.yml twice; return the exit status."""
    start = time.monotonic()

    def heading(text: str) -> None:
        print(f"\n=== {text} [{time.monotonic() - start:.0f} s]", flush=True)

    heading("The sandbox: a kind cluster, and stand-ins for Exoscale and the hub")
    if subprocess.run([sys.executable, "-m", "tests.sandbox", "up"], cwd=REPOSITORY).returncode:
        return 1
    command = ["ansible-playbook", "site.yml", *(word for path in INVENTORIES for word in ("-i", path))]
    command += BORROWED if os.environ.get("CLUSTER") else ("-i", "tests/sandbox/inventory")
    heading(" ".join(command))
    if playbook(command)[0]:
        return 1
    heading("The same again: nothing may change")
    status, changed = playbook(command)
    heading("Done" if not (status or changed) else f"The second run changed {', '.join(changed) or 'nothing'}, status {status}")
    if not (status or changed):
        print("Try it: . .sandbox/env; kubectl get pods -A; "
              "ansible-playbook playbooks/status.yml -i inventories/alice -i tests/sandbox/inventory")
        print("Remove it: make demo-down")
    return status or bool(changed)


def playbook(command: list[str]) -> tuple[int, list[str]]:
    """Run a playbook in the sandbox's environment, showing its output; return its status and the hosts that it changed."""
    shell = ["bash", "-c", '. .sandbox/env && exec "$@"', "demo", *command]
    process = subprocess.Popen(shell, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    changed = []
    for line in process.stdout:
        print(line, end="", flush=True)
        if match := re.match(r"(\S+)\s+: ok=\d+\s+changed=(\d+)", re.sub(r"\x1b\[[\d;]*m", "", line)):
            if match[2] != "0":
                changed.append(match[1])
    return process.wait(), changed


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted; `make demo` goes on where this stopped, `make demo-down` removes what there is")
