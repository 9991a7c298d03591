# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Text Generation Inference: what its pinned version reads, serves and measures.

Sources, in TGI's repository at the tag v3.3.7:

- options: ``struct Args`` in launcher/src/main.rs; each but ``--env`` is also read from the environment variable of its name
- further environment variables: launcher/src/main.rs, router/src/server.rs, router/src/logging.rs, server/text_generation_server
- routes and the key: router/src/server.rs, where the key guards ``base_routes``; it is one, compared without regard to case
- metrics: router/src/server.rs, router/src/infer/mod.rs, router/src/validation.rs, backends/v3/src; each comes with its first value
"""

from __future__ import annotations

from .contract import Contract, options, ours

SWITCHES = "--trust-remote-code --disable-custom-kernels --json-output --ngrok --disable-grammar-support --enable-prefill-logprobs"
VALUES = """
    --api-key --cors-allow-origin --cuda-graphs --cuda-memory-fraction --dtype --graceful-termination-timeout --hostname
    --huggingface-hub-cache --kv-cache-dtype --lora-adapters --master-addr --master-port --max-batch-prefill-tokens --max-batch-size
    --max-batch-total-tokens --max-best-of --max-client-batch-size --max-concurrent-requests --max-input-length --max-input-tokens
    --max-stop-sequences --max-top-n-tokens --max-total-tokens --max-waiting-tokens --model-id --ngrok-authtoken --ngrok-edge --num-shard
    --otlp-endpoint --otlp-service-name --payload-limit --port --prometheus-port --quantize --revision --rope-factor --rope-scaling
    --shard-uds-path --sharded --speculate --tokenizer-config-path --usage-stats --validation-workers --waiting-served-ratio
    --watermark-delta --watermark-gamma --weights-cache-override
"""

CONTRACT = Contract(
    title="TGI",
    version="3.3.7",
    flags=options(none=f"{SWITCHES} --env -e --help -h --version -V", one=f"{VALUES} -p -g"),
    equals=True,
    nested=False,
    ours=ours(
        llm_model="--model-id MODEL_ID",
        llm_revision="--revision REVISION",
        llm_expose="--hostname HOSTNAME --ngrok NGROK --ngrok-authtoken NGROK_AUTHTOKEN --ngrok-edge NGROK_EDGE",
        llm_gpu="""
        --num-shard NUM_SHARD --sharded SHARDED --cuda-memory-fraction CUDA_MEMORY_FRACTION CUDA_VISIBLE_DEVICES NVIDIA_VISIBLE_DEVICES
        """,
        llm_context="""
        --max-total-tokens MAX_TOTAL_TOKENS --max-input-tokens MAX_INPUT_TOKENS --max-input-length MAX_INPUT_LENGTH
        --max-batch-prefill-tokens MAX_BATCH_PREFILL_TOKENS
        """,
        llm_termination_seconds="-g --graceful-termination-timeout GRACEFUL_TERMINATION_TIMEOUT",
        llm_api_key="--api-key API_KEY",
        llm_hf_token="HF_TOKEN HUGGING_FACE_HUB_TOKEN HF_API_TOKEN",
        tgi_quantize="--quantize QUANTIZE",
        nothing="-p --port PORT --usage-stats USAGE_STATS HF_HUB_OFFLINE HF_HOME HOME USER",
    ),
    removed={
        "--disable-usage-stats": "",
        "--disable-crash-reports": "",
        "--enable-cuda-graphs": "--cuda-graphs",
    },
    environment=frozenset(
        [flag.lstrip("-").upper().replace("-", "_") for flag in f"{SWITCHES} {VALUES}".split()]
        + """
        ATTENTION DISABLE_EXLLAMA EXLLAMA_VERSION HF_API_TOKEN HF_HOME HF_HUB_ENABLE_HF_TRANSFER HF_HUB_OFFLINE HF_HUB_USER_AGENT_ORIGIN
        HF_TOKEN HUGGING_FACE_HUB_TOKEN LOG_COLORIZE LOG_LEVEL PREFILL_CHUNKING PREFIX_CACHING REQUEST_LOGPROBS TGI_WIGGLE_ROOM
        USE_FLASH_ATTENTION
        """.split()
    ),
    prefixes=(
        "HF_HUB_",
        "HF_KERNELS_",
        "MKL_",
        "PYTHON",
        "PYTORCH_",
        "RAYON_",
        "RUST_",
        "SAFETENSORS_",
        "TOKENIZERS_",
        "TORCH",
        "TRANSFORMERS_",
        "TRITON_",
    ),
    keyed=("/v1/chat/completions", "/v1/completions", "/generate", "/generate_stream", "/tokenize"),
    unkeyed=("/health", "/ping", "/info", "/metrics", "/v1/models", "/chat_tokenize", "/", "/docs"),
    several_keys=False,
    metrics=tuple(
        """
        tgi_batch_concat tgi_batch_concat_duration tgi_batch_current_max_tokens tgi_batch_current_size tgi_batch_decode_duration
        tgi_batch_filter_duration tgi_batch_forward_duration tgi_batch_inference_count tgi_batch_inference_duration
        tgi_batch_inference_failure tgi_batch_inference_success tgi_batch_max_total_tokens tgi_batch_next_size tgi_queue_size
        tgi_request_count tgi_request_duration tgi_request_failure tgi_request_generated_tokens tgi_request_inference_duration
        tgi_request_input_length tgi_request_max_new_tokens tgi_request_mean_time_per_token_duration tgi_request_queue_duration
        tgi_request_skipped_tokens tgi_request_success tgi_request_validation_duration
        """.split()
    ),
    rare=("tgi_batch_concat", "tgi_batch_concat_duration", "tgi_batch_inference_failure", "tgi_request_failure"),
)
