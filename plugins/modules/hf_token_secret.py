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
  - Another token than that of the Secret must also open every repository in use, those of O(repositories) and those whose models
    the namespace serves. The hub is asked for each; all that it refuses is reported together, and nothing is written.
  - The Secret remembers the hub user in the annotation C(selfhosted.llm/hub-user). The token of another user is refused unless
    O(user) names that user.
  - Where the token of the Secret is replaced, the running download Jobs that read it as an environment variable are started anew, which
    is none of the failures that they may have, and go on from what they brought. Nothing else is restarted. The next run takes up what
    an interrupted one left.
  - The token appears in no result, diff or log; a diff shows only that it differs.
  - Where the hub does not answer and the Secret already holds this token, a warning is given instead of a failure.
  - Without a token nothing is done, as public models need none; the Secret that is there stays.
  - In check mode a kubeconfig or a namespace that does not exist yet is no error, as the same run may be what makes it.
notes:
  - The hub tells when a token ends, if it does, but not when it was last used; C(settings/tokens) on the hub shows that.
  - Don't give the token with C(-e), which would show it in the list of processes.
extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.hub
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
  user:
    description: The hub user whom the token must belong to. Where not given, the user of the token that is in the Secret.
    type: str
  repositories:
    description: The repositories that the token must open, C(org/repo) by deployment, beside those of the namespace's deployments.
    type: dict
    default: {}
  labels:
    description: Labels of the Secret.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Store the token of the environment variable HF_TOKEN, if it is Alice's
  selfhosted.llm.hf_token_secret:
    kubeconfig: ~/.kube/selfhosted-llm/alice.yml
    namespace: llm-alice
    user: alice

- name: Store a token that Ansible Vault keeps in the inventory (ansible-vault encrypt_string --stdin-name llm_hf_token)
  selfhosted.llm.hf_token_secret:
    kubeconfig: ~/.kube/selfhosted-llm/alice.yml
    namespace: llm-alice
    token: "{{ llm_hf_token }}"

- name: Store a token that a lookup brings from a password manager, if it opens the model of a deployment to come
  selfhosted.llm.hf_token_secret:
    kubeconfig: ~/.kube/selfhosted-llm/alice.yml
    namespace: llm-alice
    token: "{{ lookup('community.general.passwordstore', 'huggingface/alice') }}"
    repositories:
      alice-llama: meta-llama/Llama-3.1-8B-Instruct

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
expires:
  description: When the token ends, in ISO 8601. A warning is given from 14 days before.
  returned: when the hub was asked and the token ends
  type: str
  sample: "2027-01-31T12:00:00+00:00"
outcome:
  description: What happened to the token in the Secret, or in check mode would happen, V(created), V(replaced) or V(kept).
  returned: when there is a token, given or found
  type: str
  sample: replaced
restarted:
  description: What was restarted, or in check mode would be, because it had the former token.
  returned: when there is a token, given or found
  type: list
  elements: dict
  contains: &entry
    deployment:
      description: The deployment; null where it belongs to none.
      type: str
    pod:
      description: The pod, as it was called before it was restarted.
      type: str
    job:
      description: The download Job, where it has no pod.
      type: str
    why:
      description: The reason.
      type: str
  sample:
    - {deployment: alice-llama, pod: alice-llama-1f0c1a3b-x2x7k, why: its download was started with the former token}
not_restarted:
  description: The namespace's other deployments and pods, where the token was replaced.
  returned: when there is a token, given or found
  type: list
  elements: dict
  contains: *entry
  sample:
    - {deployment: alice-chat, why: its weights are on its volume}
"""

import base64
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.selfhosted.llm.plugins.module_utils import hub
from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.kube import apply
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import Kube
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.readers import Readers, deployed_models

HUB_USER = "selfhosted.llm/hub-user"
# On the Secret from the time its token is replaced until all who read it are restarted.
RESTARTING = "selfhosted.llm/restarting"
EXPIRY_WARNING = timedelta(days=14)


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
        self.former = self.live.get("data", {}).get("token")
        if self.former:  # annotations of other programs may repeat it
            module.no_log_values |= {self.former, base64.b64decode(self.former).decode(errors="replace")}
        self.annotations = self.live.get("metadata", {}).get("annotations", {})

    def present(self) -> dict:
        """Bring the Secret to its desired state; return the module's result."""
        token = hub.find_token(self.options["token"])
        if not token:
            return {"changed": False}
        encoded = base64.b64encode(token.encode()).decode()
        self.module.no_log_values |= {token, encoded}  # as it may not come from the option
        self.secret["data"] = {"token": encoded}
        outcome = "created" if not self.former else "kept" if self.former == encoded else "replaced"
        result = {"outcome": outcome, "restarted": [], "not_restarted": []} | self._account(token, outcome)
        user = result.get("user") or self.annotations.get(HUB_USER)
        self.secret["metadata"] |= {"labels": self.options["labels"], "annotations": {HUB_USER: user} if user else {}}
        if outcome != "kept":
            self._check_repositories(token)
        if not self.kube:
            return result | {"changed": True}
        if outcome == "replaced" or RESTARTING in self.annotations:
            return result | self._replace()
        return result | self._result(apply.apply_object(self.kube, self.secret, self.module.check_mode, self.live))

    def absent(self) -> dict:
        """Remove the Secret; return the module's result."""
        if not self.live:
            return {"changed": False}
        return self._result(apply.delete_object(self.kube, self.live, self.module.check_mode))

    def _account(self, token: str, outcome: str) -> dict:
        """Whose the token is; empty where that cannot be asked and does not matter."""
        try:
            account = hub.whoami(self.options["endpoint"], token)
        except hub.HubError as error:
            if error.kind != "unreachable" or outcome != "kept":
                raise
            self.module.warn(f"{error} The Secret {self.where} holds this token already, and is kept.")
            return {}
        wanted = self.options["user"] or self.annotations.get(HUB_USER, account.name)
        if account.name != wanted:
            doubt = "" if self.options["user"] else f" The Secret {self.where} holds a token of {wanted}: is HF_TOKEN somebody else's?"
            raise UserError(
                f"The token belongs to the hub user {account.name}, not to {wanted}: set llm_hf_token to a token of {wanted}, "
                f"or llm_hf_user to {account.name}. Nothing was written.{doubt}"
            )
        result = {"user": account.name, "role": account.role}
        if not account.expires:
            return result
        left = account.expires.astimezone(UTC) - datetime.now(UTC)
        if left < EXPIRY_WARNING:
            self.module.warn(
                f"The token of {account.name} ends on {account.expires:%Y-%m-%d}, in {left.days} days: make a new one on "
                f"{self.options['endpoint'].rstrip('/')}/settings/tokens, and bring it with playbooks/rotate_token.yml."
            )
        return result | {"expires": account.expires.isoformat()}

    def _check_repositories(self, token: str) -> None:
        """Refuse a token that does not open a repository in use."""
        live = deployed_models(self.kube, self.options["namespace"]) if self.kube else {}
        used: dict[str, set[str]] = {}
        for deployment, repo in [*live.items(), *self.options["repositories"].items()]:
            used.setdefault(repo, set()).add(deployment)

        def refusal(repo: str) -> str:
            try:
                hub.check_access(self.options["endpoint"], token, repo)
            except hub.HubError as error:
                return f"{', '.join(sorted(used[repo]))}: {error}"
            return ""

        with ThreadPoolExecutor(hub.THREADS) as threads:
            refusals = list(filter(None, threads.map(refusal, sorted(used))))
        if refusals:
            raise UserError(f"The token does not open all that it is needed for, and nothing was written. {' '.join(refusals)}")

    def _replace(self) -> dict:
        """Write the Secret and restart who has the token that it held; return that part of the module's result."""
        check_mode, metadata, live, written = self.module.check_mode, self.secret["metadata"], self.live, None
        if not check_mode:
            marked = self.secret | {"metadata": metadata | {"annotations": metadata["annotations"] | {RESTARTING: "true"}}}
            live = apply.apply_object(self.kube, marked, False, live).after
        if RESTARTING in live["metadata"].get("annotations", {}):
            # By the API server's clock, as the times of pods.
            written = max(entry["time"] for entry in live["metadata"]["managedFields"])
        readers = Readers(self.kube, self.options["namespace"], self.options["name"], written, RESTARTING in self.annotations)
        if not check_mode:
            readers.restart()
        change = apply.apply_object(self.kube, self.secret, check_mode, live)._replace(before=self.live)
        return self._result(change) | {"restarted": readers.restarted, "not_restarted": readers.not_restarted}

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
            "repositories": {"type": "dict", "default": {}},
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
