#!/usr/bin/python
# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: plan
short_description: Check all selected deployments together before anything is written
version_added: 0.1.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Checks the inventories against each other, every deployment's variables against the argument specs of its roles, the engineers'
    kubeconfigs, the GPU shares against the platform's pools, and the models against the hub; all problems are reported at once.
  - Calculates whether each model fits its share of the GPUs (M(selfhosted.llm.model_fit)). What does not is refused, with the
    arithmetic and what would fit, unless C(llm_force) says otherwise.
  - What is added to an engine's command line and environment is checked against what its pinned version knows.
  - Runs once for all hosts of the play. Writes nothing. Prints a table of the models.
  - A model that is locked (M(selfhosted.llm.lock)) is taken as locked, and it is said where its revision has moved. Where the hub
    does not answer, what is locked or was downloaded before is taken, with a warning.
  - The platform's pools come from the inventory where it has C(sks_clusters), else from the record on the cluster.
extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.attributes.action
options:
  refuse:
    description: Refuse deployments that do not fit. Else they are planned like the others, and no table is printed.
    type: bool
    default: true
    version_added: 0.2.0
"""

EXAMPLES = r"""
- name: Plan
  selfhosted.llm.plan:
  run_once: true
  register: llm_plan
"""

RETURN = r"""
deployments:
  description: What the roles need to know of each deployment beyond its variables, by host.
  returned: success
  type: dict
  contains:
    engine:
      description: The host's engine group.
      type: str
    asked:
      description: What the inventory asks for, in a line.
      type: str
    served:
      description: Beginning of the directory that is being served now.
      type: str
    served_by:
      description: The engine that serves now; empty where none does.
      type: str
    quant:
      description: Quantisation of the GGUF file that must be made of the files; empty where none must.
      type: str
    room:
      description: Bytes that the files, and what is made of them, take at most.
      type: int
    volume:
      description: Name of the volume.
      type: str
    repo:
      description: Repository of the model.
      type: str
    commit:
      description: The commit that the revision names now.
      type: str
    directory:
      description: Where the files lie on the volume.
      type: str
    files:
      description: The files that the engine needs, each with C(path), C(size) in bytes, and C(sha256) or C(git_sha1).
      type: list
      elements: dict
    first_file:
      description: The file that a GGUF engine opens; the first part of a split model.
      type: str
    bytes:
      description: Size of all files.
      type: int
    job:
      description: Name of the download Job.
      type: str
    in_place:
      description: Whether that Job is complete.
      type: bool
    licence:
      description: The model's licence; empty where it declares none.
      type: str
    engineer:
      description: The engineer's name.
      type: str
    fit:
      description: What M(selfhosted.llm.model_fit) returns of it; proposals as lines of an inventory.
      type: dict
    pool:
      description: The pool's record.
      type: dict
    slots:
      description: C(nvidia.com/gpu) to request.
      type: int
    tokens_per_second:
      description: Decoding speed of one request that the GPU's memory bandwidth allows; 0 where it is not known.
      type: float
    share:
      description: The GPU share in words.
      type: str
    routes:
      description: The engine's routes that need the API key, which are what may be published of it.
      type: list
      elements: str
    several_keys:
      description: Whether the engine can be given more than one API key.
      type: bool
    asleep:
      description: Whether the platform's GPU pools sleep, so that nothing can run now.
      type: bool
platform:
  description: Name of the platform, or the address of its API server.
  returned: success
  type: str
"""
