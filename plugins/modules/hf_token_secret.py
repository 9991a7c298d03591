#!/usr/bin/python
# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: hf_token_secret
short_description: Keep a Hugging Face token in one Secret of a namespace
version_added: 0.1.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Asks the hub whose the token is before it writes the Secret, so that a wrong token changes nothing.
  - The token appears in no result, diff or log; a diff shows only that it differs.
  - Where the hub does not answer and the Secret already holds this token, a warning is given instead of a failure.
  - Without a token nothing is done, as public models need none; the Secret that is there stays.
  - In check mode a kubeconfig or a namespace that does not exist yet is no error, as the same run may be what makes it.
extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.cluster
attributes:
  diff_mode:
    support: full
options:
  namespace:
    description: Namespace of the Secret.
    type: str
    required: true
  name:
    description: Name of the Secret; the token is under its key C(token).
    type: str
    default: hf-token
  state:
    description: V(absent) removes the Secret, and asks the hub nothing.
    type: str
    choices: [present, absent]
    default: present
  token:
    description: The token. Where not given, E(HF_TOKEN), else the file that C(hf auth login) writes.
    type: str
  user:
    description: The hub user whom the token must belong to. Not checked where not given.
    type: str
  endpoint:
    description: Address of the hub.
    type: str
    default: https://huggingface.co
  labels:
    description: Labels of the Secret.
    type: dict
    default: {}
requirements:
  - huggingface_hub
"""

EXAMPLES = r"""
- name: Store the token of HF_TOKEN, if it is Alice's
  selfhosted.llm.hf_token_secret:
    kubeconfig: ~/.kube/selfhosted-llm/alice.yml
    namespace: llm-alice
    user: alice

- name: Take the token away
  selfhosted.llm.hf_token_secret:
    kubeconfig: ~/.kube/selfhosted-llm/alice.yml
    namespace: llm-alice
    state: absent
"""

RETURN = r"""
user:
  description: The hub user to whom the token belongs.
  returned: when the hub was asked and answered
  type: str
  sample: alice
role:
  description: The token's role, V(read), V(write) or V(fineGrained).
  returned: when the hub was asked and answered
  type: str
  sample: read
"""

import base64
import os

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.selfhosted.llm.plugins.module_utils import hub
from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube import apply
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import Kube


class TokenSecret:
    """The Secret that the module's options describe."""

    def __init__(self, module: AnsibleModule):
        self.module = module
        self.options = module.params
        self.where = f"{self.options['namespace']}/{self.options['name']}"
        self.secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": self.options["name"], "namespace": self.options["namespace"]},
        }
        # Without one in check mode: an earlier task of the same run would have made it.
        expected = module.check_mode and not os.path.exists(self.options["kubeconfig"])
        self.kube = None if expected else Kube(self.options["kubeconfig"], self.options["context"])
        self.live = apply.read(self.kube, self.secret) if self.kube else {}

    def present(self) -> dict:
        """Bring the Secret to its desired state; return the module's result."""
        token = hub.find_token(self.options["token"])
        if not token:
            return {"changed": False}
        self.module.no_log_values.add(token)  # as it may not come from the option
        self.secret["metadata"]["labels"] = self.options["labels"]
        self.secret["data"] = {"token": base64.b64encode(token.encode()).decode()}
        result = self._account(token)
        if not self.kube:
            return result | {"changed": True}
        return result | self._result(apply.apply_object(self.kube, self.secret, self.module.check_mode, self.live))

    def absent(self) -> dict:
        """Remove the Secret; return the module's result."""
        if not self.live:
            return {"changed": False}
        return self._result(apply.delete_object(self.kube, self.live, self.module.check_mode))

    def _account(self, token: str) -> dict:
        """Whose the token is; empty where that cannot be asked and does not matter."""
        try:
            account = hub.whoami(self.options["endpoint"], token)
        except hub.HubError as error:
            if error.kind != "unreachable" or self.live.get("data") != self.secret["data"]:
                raise
            self.module.warn(f"{error} The Secret {self.where} holds this token already, and is kept.")
            return {}
        wanted = self.options["user"]
        if wanted not in (None, account.name):
            self.module.fail_json(
                msg=f"The token belongs to the hub user {account.name}, not to {wanted}: set llm_hf_token to a token "
                f"of {wanted}, or llm_hf_user to {account.name}. Nothing was written."
            )
        return {"user": account.name, "role": account.role}

    @staticmethod
    def _result(change: apply.Change) -> dict:
        changed = change.action != "unchanged"
        return {"changed": changed} | ({"diff": apply.diff(change)} if changed else {})


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "kubeconfig": {"type": "path", "required": True},
            "context": {"type": "str"},
            "namespace": {"type": "str", "required": True},
            "name": {"type": "str", "default": "hf-token"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "token": {"type": "str", "no_log": True},
            "user": {"type": "str"},
            "endpoint": {"type": "str", "default": "https://huggingface.co"},
            "labels": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    try:
        secret = TokenSecret(module)
        module.exit_json(**(secret.present() if module.params["state"] == "present" else secret.absent()))
    except UserError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
