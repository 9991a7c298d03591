#!/usr/bin/python
# Copyright: (c) 2026, selfhosted.llm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: model_fit
short_description: Say whether models fit their GPUs before anything is deployed
version_added: 0.2.0
author: selfhosted.llm contributors (@selfhosted-llm)
description:
  - Calculates what each deployment takes of each GPU from the model's tensors and the engine's rules, says whether it fits with the
    arithmetic, and proposes what would fit where it does not. Each proposal was judged to fit in the same way.
  - Of a model on the hub a few MiB are read, whatever its size, and kept in O(cache). No cluster and no GPU is needed.
  - What is wrong with one deployment (a model that cannot be read, an option that its engine does not have) is told in its entry of
    the result and hides no other. That a deployment does not fit is no failure of the module either.
  - llama.cpp's numbers were measured. Those of TGI and vLLM follow from their sources and were never measured; for these engines V(fits)
    means that a margin for what the sources do not say is left free, too. Where that is all there is, the verdict is V(tight) and names it.
extends_documentation_fragment:
  - selfhosted.llm.attributes
  - selfhosted.llm.hub
attributes:
  diff_mode:
    support: N/A
    details: There is nothing that changes.
options:
  deployments:
    description:
      - The deployments, as dictionaries with the following keys. Only C(model) is required.
      - C(model) is C(org/repo), C(org/repo:QUANT), or the path of a GGUF file or of a directory with safetensors, beginning with
        V(/), V(./) or V(~).
        For llama.cpp, the GGUF file that would be made is foreseen where a repository has none.
      - C(revision) is a branch, tag or commit (V(main)). C(name) is returned with the result.
      - C(engine) is V(llama_cpp) (the default), V(tgi) or V(vllm).
      - C(options) are the engine's, by its own names. Of llama.cpp C(ctx) (of all slots together), C(np), C(kv_unified), C(ngl), C(ctk),
        C(ctv), C(fa), C(ubatch), C(split_mode), C(tensor_split), C(mmproj) (bytes of the multimodal projector).
        Of TGI C(max_total_tokens), C(max_concurrent_requests), C(max_batch_prefill_tokens), C(num_shard), C(quantize),
        C(cuda_memory_fraction).
        Of vLLM C(max_model_len), C(max_num_seqs), C(max_num_batched_tokens), C(tensor_parallel_size), C(gpu_memory_utilization),
        C(kv_cache_dtype), C(quantization).
      - For TGI and vLLM the context is the model's by default, all GPUs share the model, and the fraction of memory is the share's.
        C(max_concurrent_requests) and C(max_num_seqs) are how many requests of full length shall have room at once; by default
        one must, and others wait.
      - C(gpu) is a card or an instance type that P(selfhosted.llm.gpu_offer_info#module) knows (V(A40)), C(gpus) the number of cards
        (1, or all of an instance type), and C(share) is as C(llm_gpu) in the role P(selfhosted.llm.llm#role), where V(0.5) is one slot of
        a card sliced in two.
      - C(free_mib) is the memory in MiB that is free on each GPU, as a list, in place of C(gpus) and C(share).
      - C(margin_mib) is kept free on each GPU in place of the engine's own margin.
      - C(force) marks a deployment that does not fit as one that is wanted all the same, which is a warning.
    type: list
    elements: dict
    required: true
  cache:
    description: Directory for what was read of models; it is made where it does not exist.
    type: path
    default: ~/.cache/selfhosted-llm
notes:
  - "C(ansible localhost -m selfhosted.llm.model_fit -a @FILE) is refused by ansible-core, which takes no parameters from files there.
    C(ansible localhost -m selfhosted.llm.model_fit -a \"$(cat FILE)\") does it, with JSON in the file."
seealso:
  - module: selfhosted.llm.hf_model_info
  - module: selfhosted.llm.plan
"""

EXAMPLES = r"""
- name: Look whether two models fit
  selfhosted.llm.model_fit:
    deployments:
      - name: alice-chat
        model: bartowski/Meta-Llama-3.1-8B-Instruct-GGUF:Q4_K_M
        options: {ctx: 32768, np: 4}
        share: 0.5
      - name: bob-llama
        model: meta-llama/Llama-3.1-70B-Instruct
        engine: tgi
        options: {max_total_tokens: 8192, max_concurrent_requests: 4}
        gpu: gpu3.medium
  register: fit

- name: Show what would fit instead
  ansible.builtin.debug:
    msg: "{{ [item.message] + item.proposals | map(attribute='what') }}"
  loop: "{{ fit.deployments }}"
  loop_control:
    label: "{{ item.name }}: {{ item.verdict }}"
"""

RETURN = r"""
deployments:
  description: An entry for each deployment, in the order of O(deployments).
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The deployment's name, or its model where it has none.
      type: str
      sample: bob-llama
    verdict:
      description:
        - V(fits); V(tight), which fits by a rule alone that RV(deployments[].message) names; V(no); V(unknown) where it cannot be said.
      type: str
      sample: "no"
    forced:
      description: Whether it does not fit, but is wanted all the same.
      type: bool
      sample: false
    message:
      description: The verdict with its arithmetic, or what is wrong, and the cure.
      type: str
      sample: "Does not fit: 131.4 GiB weights + 2.5 GiB keys and values + 9.1 GiB buffers + 8.9 GiB kept free by TGI + 3.6 GiB margin =
        155.5 GiB, on 2 x A40 with 88.7 GiB, GPU 0 lacks 33.4 GiB."
    gpus:
      description: What it takes of each GPU. Empty where that cannot be said.
      type: list
      elements: dict
      contains:
        parts:
          description: MiB by what they are for, C(weights), C(kv) (keys and values), C(compute) (buffers), C(context) (CUDA's, or
            what TGI and vLLM never give to their cache) and C(margin).
          type: dict
          sample: {weights: 67290, kv: 1280, compute: 4670, context: 4541, margin: 1824}
        total_mib:
          description: The sum of the parts.
          type: int
          sample: 79605
        free_mib:
          description: What the deployment has.
          type: int
          sample: 45404
        left_mib:
          description: What is left, negative where it lacks.
          type: int
          sample: -34201
        bytes:
          description: Bytes that it is expected to take, without the margin.
          type: int
          sample: 81558921216
    quantisation:
      description: How the engine quantises the weights, or their files are quantised; empty where neither is, and for GGUF files.
      type: str
      sample: awq
    tokens_per_second:
      description: Tokens per second of a single request at most, which the memory's bandwidth allows. None where that is not known, or the
        CPU takes part.
      type: float
      sample: 9.8
    proposals:
      description: What would fit instead, each judged in the same way. Empty where it fits.
      type: list
      elements: dict
      contains:
        what:
          description: In words.
          type: str
          sample: 4 x A40 (gpu3.large, 4.18 EUR an hour)
        change:
          description:
            - What to change in the deployment's entry of O(deployments). Options that it does not name stay, except with another engine.
          type: dict
          sample: {gpu: gpu3.large, gpus: 4, share: 1, options: {num_shard: 4}}
        verdict:
          description: Always V(fits).
          type: str
          sample: fits
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.selfhosted.llm.plugins.module_utils import hub, model_fit
from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError


def main() -> None:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "deployments": {"type": "list", "elements": "dict", "required": True},
            "token": {"type": "str", "no_log": True},
            "endpoint": {"type": "str", "default": "https://huggingface.co"},
            "cache": {"type": "path", "default": "~/.cache/selfhosted-llm"},
        },
        supports_check_mode=True,
    )
    options = module.params
    try:
        source = model_fit.Source(options["endpoint"], hub.find_token(options["token"]), options["cache"])
        entries = model_fit.judge_all(options["deployments"], source)
    except UserError as error:
        module.fail_json(msg=str(error))
    for entry in entries:
        if entry["forced"]:
            module.warn(f"{entry['name']} goes on by force. {entry['message']}")
    module.exit_json(changed=False, deployments=entries)


if __name__ == "__main__":
    main()
