# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Documentation that all modules for Exoscale share."""

    DOCUMENTATION = r"""
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    description: A second run with the same options changes nothing.
    support: full
options:
  zone:
    description: The Exoscale zone, for example V(de-fra-1).
    type: str
    required: true
  api_key:
    description:
      - API key, together with O(api_secret).
      - Where not given, E(EXOSCALE_API_KEY) and E(EXOSCALE_API_SECRET), else the account that E(EXOSCALE_ACCOUNT) names,
        or else the default one, in the configuration of the C(exo) CLI (E(EXOSCALE_CONFIG)).
    type: str
  api_secret:
    description: Secret of O(api_key).
    type: str
  timeout:
    description: How long the task may wait for Exoscale, in seconds. What Exoscale has begun goes on after that.
    type: int
    default: 1200
  shared_lists:
    description:
      - Folder in which the modules of one run share what Exoscale listed. The collection itself sets it, for modules that run
        on the control node as Ansible's own user.
      - A module concludes from it only that nothing is to be changed, and removes it before it changes anything.
    type: path
    version_added: 0.2.0
requirements:
  - The C(exo) CLI on E(PATH), or else the Python library exoscale.
notes:
  - E(EXOSCALE_API_ENDPOINT) replaces the address of Exoscale's API.
  - A request whose answer is lost is repeated only after another look at what is there. What a creation that failed leaves is
    removed.
  - In check mode a cluster that does not exist yet is no error, as the same run may be what makes it.
"""
