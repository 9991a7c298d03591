#!/usr/bin/python
# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: apply
short_description: Apply the whole desired state of a deployment or role in one task
version_added: 0.1.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Brings Kubernetes objects to their desired state by server-side apply, with the field manager C(selfhosted.llm), labels them
    with their owner, waits until the workloads among them are ready, and deletes what the owner no longer wants.
  - With O(prune) a Deployment that does not become ready, or fails O(gate), is followed by the state that last worked, which the cluster
    keeps in a ConfigMap. The state that failed is remembered there, too, and not tried again unless O(retry_failed).
  - What already is as wanted is recognised without a write. A Job is waited for before what comes after it, and never run again once
    complete. A Secret annotated C(selfhosted.llm/generate=key) gets a random value once and keeps it, with C(key,keys) also a file with
    spare ones, of which one annotated C(selfhosted.llm/key-of=<Secret>) takes the next. A volume claim never shrinks.
  - In check mode the API server is asked for dry runs, so that the diff is exact. Where the namespace does not exist yet the diff is
    marked as not validated.
extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.attributes.action
  - selfhosted.llm.cluster
attributes:
  diff_mode:
    support: full
options:
  objects:
    description: Kubernetes objects. Owner labels, and the namespace where one is missing, are added.
    type: list
    elements: dict
    required: true
  namespace:
    description: Namespace of objects that name none.
    type: str
  instance:
    description: The owner, as the label C(app.kubernetes.io/instance).
    type: str
    required: true
  engineer:
    description: The engineer the owner belongs to, as the label C(selfhosted.llm/engineer).
    type: str
  prune:
    description: Delete objects of this owner in O(namespace) that are not among O(objects). Volume claims are never deleted.
    type: bool
    default: false
  wait:
    description: Wait until workloads are ready. Else they are only written, and O(gate) is left out.
    type: bool
    default: true
  timeout:
    description: How long each workload may take until it is ready, in seconds.
    type: int
    default: 600
  gate:
    description:
      - What is asked of the Deployment once it is ready, once for each state of its pods; whether it serves the model under the
        deployment's name, answers, has all metrics that dashboards need, and uses the GPU.
    type: dict
    suboptions:
      engine:
        description: The engine, whose table of routes and metrics counts.
        type: str
        choices: [llama_cpp, tgi, vllm]
        required: true
      port:
        description: Port of the pod.
        type: int
        required: true
      key_secret:
        description: Name of the Secret with the API key. The endpoint has none where not given.
        type: str
      task:
        description: What the model does.
        type: str
        choices: [chat, embedding]
        default: chat
      floor:
        description: Tokens per second below which the answer counts as a failure.
        type: float
        default: 0.0
      gpu_layers:
        description: Layers that must be on the GPU by the engine's log, a number or V(all). V(0) looks for none.
        type: str
        default: '0'
      gpu_mib:
        description:
          - GPU memory in MiB that the pod must use, as the platform's Prometheus knows it. Where it knows nothing, and with V(0), nothing
            is asked.
        type: int
        default: 0
  retry_failed:
    description: Apply a Deployment although this very state of it failed before.
    type: bool
    default: false
  report_dir:
    description: Directory of the engineer's machine where logs and events of a Deployment that fails are kept, a file each.
    type: path
    default: ~/.selfhosted-llm/reports
"""

EXAMPLES = r"""
- name: Keep a settings object as it should be
  selfhosted.llm.apply:
    kubeconfig: ~/.kube/config
    namespace: llm-alice
    instance: alice-settings
    prune: true
    objects:
      - apiVersion: v1
        kind: ConfigMap
        metadata:
          name: alice-settings
        data:
          colour: green
"""

RETURN = r"""
changes:
  description: What was written, or would be, a line for each object.
  returned: always
  type: list
  elements: str
  sample: [Service llm-alice/alice-chat created]
answer:
  description: How the endpoint answered the gate's question; empty where no pod is wanted.
  returned: when O(gate) is given, not in check mode
  type: dict
  contains:
    seconds:
      description: Seconds until the whole answer.
      type: float
    tokens_per_second:
      description: Tokens of the answer by these seconds.
      type: float
    template:
      description: Identifies the pods' template that answered.
      type: str
"""
