# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What dashboards and alerts may use of dcgm-exporter's counters.

Source: etc/default-counters.csv in NVIDIA/dcgm-exporter at VERSION. These are all on there, and none is of the profiling
module, which a GPU shares with no other profiler. Where a GPU is sliced, each pod shows the whole device's values.
"""

from __future__ import annotations

VERSION = "4.5.3-4.8.2"

METRICS = (
    "DCGM_FI_DEV_FB_FREE",  # MiB
    "DCGM_FI_DEV_FB_RESERVED",  # MiB
    "DCGM_FI_DEV_FB_USED",  # MiB
    "DCGM_FI_DEV_GPU_TEMP",  # degrees Celsius
    "DCGM_FI_DEV_GPU_UTIL",  # percent of the time in which a kernel ran
    "DCGM_FI_DEV_MEM_COPY_UTIL",  # percent of the time in which memory was read or written
    "DCGM_FI_DEV_POWER_USAGE",  # W
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",  # mJ since the driver was loaded
    "DCGM_FI_DEV_XID_ERRORS",  # number of the last error, 0 for none
)
