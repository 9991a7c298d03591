# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What lookups that ask a cluster have in common."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from typing import TypeVar

from ansible.errors import AnsibleLookupError

from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import Kube

Answer = TypeVar("Answer")


def ask(kubeconfig: str, question: Callable[[Kube], Answer], otherwise: Answer) -> Answer:
    """What a cluster answers; ``otherwise`` where its kubeconfig does not exist, as there is no cluster yet.

    Raises:
        AnsibleLookupError: it cannot be asked, with the sentence.
    """
    path = os.path.expanduser(kubeconfig)
    if not os.path.exists(path):
        return otherwise
    try:
        with closing(Kube(path)) as kube:
            return question(kube)
    except UserError as error:
        raise AnsibleLookupError(str(error)) from None
