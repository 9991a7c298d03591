#!/usr/bin/python
# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: hf_model_info
short_description: Show what models on the Hugging Face hub are made of, and whether a token may read them
version_added: 0.2.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Returns each model's commit, licence and files, or why it cannot be had, with the cure. All models are asked for at once.
  - A model that cannot be had is no failure of the module; O(ignore:access) in the result tells.
  - The plan of P(selfhosted.llm.plan#module) makes the same checks for all deployments of an inventory.
extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.hub
attributes:
  diff_mode:
    support: N/A
    details: There is nothing that changes.
options:
  models:
    description: The models, C(org/repo) or C(org/repo:QUANT).
    type: list
    elements: str
    required: true
  revision:
    description: Branch, tag or commit of all of them.
    type: str
    default: main
  engine:
    description: Return only the files that this engine needs. All files where not given.
    type: str
    choices: [llama_cpp, tgi, vllm]
seealso:
  - module: selfhosted.llm.plan
"""

EXAMPLES = r"""
- name: Look models up
  selfhosted.llm.hf_model_info:
    models:
      - bartowski/Meta-Llama-3.1-8B-Instruct-GGUF:Q4_K_M
      - meta-llama/Llama-3.1-8B-Instruct
  register: hub

- name: Stop where one cannot be read
  ansible.builtin.assert:
    that: item.access == 'granted'
    fail_msg: "{{ item.message }}"
  loop: "{{ hub.models }}"
  loop_control:
    label: "{{ item.model }}"
"""

RETURN = r"""
models:
  description: An entry for each model, in the order of O(models).
  returned: always
  type: list
  elements: dict
  contains:
    model:
      description: As asked for.
      type: str
      sample: meta-llama/Llama-3.1-8B-Instruct
    access:
      description:
        - V(granted), or why the model cannot be had, one of V(bad_model), V(no_token), V(bad_token), V(expired_token),
          V(licence_not_accepted), V(access_pending), V(no_gated_right), V(no_right), V(no_such_repository), V(no_such_revision),
          V(no_such_file), V(unreachable).
      type: str
      sample: licence_not_accepted
    message:
      description: What is wrong, and the cure; empty where nothing is.
      type: str
      sample: "meta-llama/Llama-3.1-8B-Instruct is gated, and the token's user has not accepted its licence: do so on
        https://huggingface.co/meta-llama/Llama-3.1-8B-Instruct."
    repo:
      description: The repository's name as the hub writes it.
      returned: when the access is granted
      type: str
      sample: meta-llama/Llama-3.1-8B-Instruct
    commit:
      description: The commit that the revision names now.
      returned: when the access is granted
      type: str
      sample: 0e9e39f249a16976918f6564b8830bc894c89659
    gated:
      description: Whether the hub asks for a token and an accepted licence.
      returned: when the access is granted
      type: bool
      sample: true
    licence:
      description: The licence that its authors declare; empty where they declare none.
      returned: when the access is granted
      type: str
      sample: llama3.1
    bytes:
      description: Size of the files together.
      returned: when the access is granted
      type: int
      sample: 16069722112
    quant:
      description: For O(engine=llama_cpp), the quantisation of the GGUF file that would be made of the files; empty where they have it.
      returned: when the access is granted
      type: str
      sample: Q4_K_M
    files:
      description: The files, with their path, size in bytes, and sha256 (large files) or git's object id, C(git_sha1) (small ones).
      returned: when the access is granted
      type: list
      elements: dict
      sample:
        - path: model-00001-of-00004.safetensors
          size: 4976698672
          sha256: 2b1879f356aed350030bb40eb45ad362c89d9891096f79a3ab323d3ba5607668
          git_sha1: null
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.selfhosted.llm.plugins.module_utils import hub, weights
from ansible_collections.selfhosted.llm.plugins.module_utils.engines import CONTRACTS
from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError


def _found(model: str, engine: str | None, snapshot: hub.Snapshot) -> dict:
    """What is returned of a model that can be read."""
    chosen = weights.Weights(snapshot.files, "", "")
    if engine:
        chosen = weights.select(engine, snapshot, weights.parse_model(model)[1])
    return {
        "repo": snapshot.repo,
        "commit": snapshot.commit,
        "gated": snapshot.gated,
        "licence": snapshot.licence,
        "bytes": chosen.size,
        "quant": chosen.quant,
        "files": [file._asdict() for file in chosen.files],
    }


def look_up(options: dict) -> list[dict]:
    """The entries of the result; options are the module's."""
    token = hub.find_token(options["token"])
    questions: dict[str, hub.Question | hub.HubError] = {}
    for model in options["models"]:
        try:
            questions[model] = hub.Question(options["endpoint"], token, weights.parse_model(model)[0], options["revision"])
        except hub.HubError as error:
            questions[model] = error
    answers = hub.resolve_all(question for question in questions.values() if isinstance(question, hub.Question))
    entries = []
    for model in options["models"]:
        try:
            answer = answers.get(questions[model], questions[model])
            if isinstance(answer, hub.HubError):
                raise answer
            entries.append({"model": model, "access": "granted", "message": ""} | _found(model, options["engine"], answer))
        except hub.HubError as error:
            entries.append({"model": model, "access": error.kind, "message": str(error)})
    return entries


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "models": {"type": "list", "elements": "str", "required": True},
            "revision": {"type": "str", "default": "main"},
            "engine": {"type": "str", "choices": list(CONTRACTS)},
            "token": {"type": "str", "no_log": True},
            "endpoint": {"type": "str", "default": "https://huggingface.co"},
        },
        supports_check_mode=True,
    )
    try:
        module.exit_json(changed=False, models=look_up(module.params))
    except UserError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
