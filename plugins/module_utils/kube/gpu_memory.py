# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much GPU memory a pod uses, as NVIDIA's exporter tells Prometheus."""

from __future__ import annotations

import time

from ..prometheus import NAMESPACE, PORT, Prometheus, PrometheusError
from .client import Kube, KubeError
from .forward import open_socket

# The exporter measures every 30 s, and is asked every 30 s: with some patience for a busy Prometheus.
PATIENCE = 120
PAUSE = 5


def used_mib(kube: Kube, engineer: str, pod: str, least: int) -> int | None:
    """Memory that an engineer's pod uses on all its cards together, in MiB.

    Asks the part of Prometheus that the engineer may read, until it is at least ``least`` or patience ends.

    Returns:
        None where nothing is known: the platform has no monitoring, or its exporter sees neither the pod nor its processes.
    """
    prometheus = Prometheus(lambda: open_socket(kube, NAMESPACE, f"prometheus-{engineer}-0", PORT))
    end, used = time.monotonic() + PATIENCE, None
    while True:
        try:
            for sample in prometheus.query(f'sum(DCGM_FI_DEV_FB_USED{{pod="{pod}"}})'):
                used = int(sample.value) or None
        except KubeError:
            return None  # no monitoring
        except PrometheusError:
            pass  # may be about to start
        if time.monotonic() > end or (used or 0) >= least:
            return used
        time.sleep(PAUSE)
