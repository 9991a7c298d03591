# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the action plugins that ask running deployments have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ansible.utils.display import Display

from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import Kube
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.running import Running
from ansible_collections.selfhosted.llm.plugins.plugin_utils.action import DEPLOYMENT, ClusterAction


class RunningAction(ClusterAction):
    """An action on a deployment that serves. It exists, also in check mode."""

    argument_spec = DEPLOYMENT

    @contextmanager
    def running(self, args: dict, *names: str) -> Iterator[list[Running]]:
        """These deployments of the engineer's."""
        kube = Kube(args["kubeconfig"], args["context"])
        try:
            yield [Running(kube, args["namespace"], name) for name in names]
        finally:
            kube.close()


def say(lines: list[str]) -> None:
    """Lines that stay together on the screen when hosts run side by side."""
    Display().display("\n".join(lines))
