#!/usr/bin/python
# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_offer_info
short_description: Show the GPU nodes that an organisation can have in an Exoscale zone, with price and quota
version_added: 0.2.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Returns each instance type with GPUs of a zone, what one node of it costs, and what keeps the organisation from
    having one more.
  - Exoscale does not show an organisation the families that it is not authorised for. Those whose price this collection
    knows are returned all the same; their sizes are what Exoscale published in 2026.
extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.exoscale
attributes:
  diff_mode:
    support: N/A
    details: There is nothing that changes.
seealso:
  - module: selfhosted.llm.sks_nodepool
"""

EXAMPLES = r"""
- name: Get what GPU nodes there are
  selfhosted.llm.gpu_offer_info:
    zone: de-fra-1
  register: gpu
"""

RETURN = r"""
offers:
  description: The instance types, the smallest of each family first.
  returned: always
  type: list
  elements: dict
  contains:
    instance_type:
      description: Family and size.
      type: str
      sample: gpu3.small
    gpu:
      description: Name of the GPU; null where this collection does not know.
      type: str
      sample: A40
    gpus:
      description: GPUs of one node.
      type: int
      sample: 1
    gpu_memory_mib:
      description: Memory of one GPU that CUDA can use; null where this collection does not know.
      type: int
      sample: 45404
    cpus:
      description: Virtual CPUs of one node.
      type: int
      sample: 12
    memory_gib:
      description: Memory of one node.
      type: float
      sample: 56.0
    eur_per_hour:
      description: Price of one node; null where this collection does not know.
      type: float
      sample: 1.0453
    authorised:
      description: Whether the organisation may use the family.
      type: bool
      sample: true
    quota:
      description:
        - The organisation's quota of GPUs of the family, with C(limit), C(used) and C(left); null where there is none.
        - C(limit) and C(left) are null where there is no limit.
      type: dict
      sample: {limit: 4, used: 1, left: 3}
    obstacle:
      description: Why one more node cannot be had, and the cure; null where it can.
      type: str
      sample: null
"""

from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.resource import ExoscaleModule
from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.sks import InstanceTypes
from ansible_collections.selfhosted.llm.plugins.module_utils.gpu import OFFERS


class GpuOfferInfo(ExoscaleModule):
    """What there is of GPU nodes."""

    def present(self) -> dict:
        """See ExoscaleModule."""
        zone, types = self.api.zone, InstanceTypes(self.api)
        names = {name for name, offer in OFFERS.items() if zone in offer.zones}
        for name, entry in types.by_name.items():
            if entry.get("gpus") and zone in entry.get("zones", [zone]):
                names.add(name)
        offers = [self._offer(name, types) for name in names]
        offers.sort(key=lambda offer: (offer["instance_type"].partition(".")[0], offer["gpus"]))
        return {"changed": False, "offers": offers}

    def _offer(self, name: str, types: InstanceTypes) -> dict:
        seen, known, family = types.by_name.get(name), OFFERS.get(name), name.partition(".")[0]
        authorised = bool(seen) and seen.get("authorized", True)
        gpus = seen["gpus"] if seen else known.gpus
        return {
            "instance_type": name,
            "gpu": known and known.gpu,
            "gpus": gpus,
            "gpu_memory_mib": known and known.mib,
            "cpus": seen["cpus"] if seen else known.cpus,
            "memory_gib": seen["memory"] / 2**30 if seen else float(known.memory_gib),
            "eur_per_hour": known and known.eur_per_hour,
            "authorised": authorised,
            "quota": _quota(types.quotas.get(family)),
            "obstacle": types.shortage(name, 1) if authorised else types.not_authorised(family, gpus),
        }


def _quota(quota: dict | None) -> dict | None:
    if quota is None:
        return None
    limit = quota["limit"] if quota["limit"] >= 0 else None
    return {"limit": limit, "used": quota["usage"], "left": None if limit is None else max(0, limit - quota["usage"])}


def main() -> None:
    """Run the module."""
    GpuOfferInfo.run({})


if __name__ == "__main__":
    main()
