#!/usr/bin/python
# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_check
short_description: Prove that GPU nodes advertise their cards, and that pods compute on them
version_added: 0.2.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Looks whether each node of the GPU pools advertises C(nvidia.com/gpu), cards times slots, and says of one that does not why.
  - On each node that does, and has a free slot, runs a test as a Job in the namespace C(nvidia). It passes where it ends with 0 and
    prints C(Test PASSED), as NVIDIA's sample vectorAdd does. The Job is removed once its result is kept.
  - Keeps the last result of each node in the ConfigMap C(nvidia/gpu-check). Prints a table, and writes it as JSON.
  - A node whose slots are all held is reported as busy, with who holds them, and not waited for.
  - Fails where a node is not as it must be, after all has been written. In check mode lists the nodes that would be tested.
extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.attributes.action
  - selfhosted.llm.cluster
options:
  pools:
    description: Node pools as in the role P(selfhosted.llm.sks_gpu_nodes#role). Those without GPUs are left out.
    type: list
    elements: dict
    required: true
  image:
    description: Image of the test.
    type: str
    required: true
  command:
    description: Command in place of the image's own.
    type: list
    elements: str
    default: []
  only_untested:
    description: Leave out nodes that have passed this test before.
    type: bool
    default: false
  timeout:
    description: How long the test may take on a node, in seconds, with the transfer of its image.
    type: int
    default: 600
  data:
    description: The JSON file to write.
    type: path
"""

EXAMPLES = r"""
- name: Prove two GPU nodes
  selfhosted.llm.gpu_check:
    kubeconfig: ~/.kube/config
    pools:
      - {name: llm, instance_type: gpu3.small, size: 2}
    image: nvcr.io/nvidia/k8s/cuda-sample:vectoradd-cuda12.5.0
"""

RETURN = r"""
nodes:
  description: What was found, as written to O(data).
  returned: success
  type: list
  elements: dict
  contains:
    node:
      description: The node; empty for a pool that has too few.
      type: str
    pool:
      description: Its pool.
      type: str
    card:
      description: Its card, as gpu-feature-discovery names it; empty where nothing does.
      type: str
    slots:
      description: The C(nvidia.com/gpu) that it advertises.
      type: int
    wanted:
      description: What it must advertise, cards times slots.
      type: int
    test:
      description: C(passed), C(failed), C(busy, not tested), C(not tested), or in check mode C(to be tested).
      type: str
    cause:
      description: Why it is not as it must be, by the name of a cause (docs/gpu-nodes.md) or V(vectoradd); else empty.
      type: str
    why:
      description: The cause with its proof and cure, or who holds the slots, as a sentence; else empty.
      type: str
    time:
      description: When it was last tested (UTC).
      returned: where it was
      type: str
    seconds:
      description: How long that took.
      returned: where it was tested
      type: int
    words:
      description: What the test said last.
      returned: where it was tested
      type: str
"""
