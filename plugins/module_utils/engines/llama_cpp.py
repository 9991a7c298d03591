# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""llama.cpp's llama-server: what its pinned version reads, serves and measures.

Sources, in llama.cpp's repository at that build (tests/recorded/llama_cpp/help.txt is what it prints):

- options and their environment variables: common/arg.cpp, of the example ``server`` and the common ones; how many values they take:
  ``llama-server --help``, which lists the same ones
- further environment variables: ``getenv`` in common, src, tools/server, tools/mtmd
- routes and the key: tools/server/server.cpp, tools/server/server-http.cpp (every route needs the key but those called public there)
- metrics: ``server_task_result_metrics`` in tools/server/server-task.cpp
"""

from __future__ import annotations

from .contract import Contract, options, ours

CONTRACT = Contract(
    title="llama.cpp",
    version="b11434",
    flags=options(
        none="""
        -ag --agent --backend-sampling -bs --cache-idle-slots --cache-list --cache-prompt -cb --check-tensors -cl -cmoe -cmoed
        --completion-bash --cont-batching --context-shift --cors-credentials --cpu-moe --cpu-moe-draft -e --embd-gemma-default --embedding
        --embeddings --escape --fim-qwen-1.5b-default --fim-qwen-14b-spec --fim-qwen-30b-default --fim-qwen-3b-default --fim-qwen-7b-default
        --fim-qwen-7b-spec --gpt-oss-120b-default --gpt-oss-20b-default -h --help --ignore-eos --jinja --kv-offload --kv-unified -kvo -kvu
        --list-devices --log-disable --log-jsonl --log-prefix --log-timestamps --log-verbose --lora-init-without-apply --metrics
        --mmproj-auto --mmproj-offload --models-autoload -nkvo -no-ag --no-agent --no-cache-idle-slots --no-cache-prompt --no-cont-batching
        --no-context-shift --no-cors-credentials --no-escape --no-host --no-jinja --no-kv-offload --no-kv-unified -no-kvu --no-log-jsonl
        --no-log-prefix --no-log-timestamps --no-mmproj --no-mmproj-auto --no-mmproj-offload --no-models-autoload --no-op-offload --no-perf
        --no-prefill-assistant --no-reasoning-preserve --no-repack --no-skip-chat-parsing --no-slots --no-spec-draft-backend-sampling
        --no-ui --no-ui-mcp-proxy --no-warmup --no-webui --no-webui-mcp-proxy -nocb -nr --offline --op-offload --perf --prefill-assistant
        --props --reasoning-preserve --repack --rerank --reranking --reuse-port --skip-chat-parsing --slots -sp --spec-default
        --spec-draft-backend-sampling --spec-draft-cpu-moe --special --spm-infill --swa-full --ui --ui-mcp-proxy --usage -v --verbose
        --version --vision-gemma-12b-default --vision-gemma-4b-default --warmup --webui --webui-mcp-proxy
        """,
        one="""
        -a --adaptive-decay --adaptive-target --alias --api-key --api-key-file --api-prefix -b --batch-size -C -c --cache-ram --cache-reuse
        --cache-type-k --cache-type-k-draft --cache-type-v --cache-type-v-draft -Cb -Cbd -Cd --chat-template --chat-template-file
        --chat-template-kwargs --checkpoint-min-step -cms --control-vector --control-vector-scaled --cors-headers --cors-methods
        --cors-origins --cpu-mask --cpu-mask-batch --cpu-mask-batch-draft --cpu-mask-draft --cpu-range --cpu-range-batch --cpu-range-draft
        --cpu-strict --cpu-strict-batch --cpu-strict-batch-draft --cpu-strict-draft -Cr -cram -Crb -Crd -ctk -ctkd -ctv -ctvd
        --ctx-checkpoints --ctx-size -ctxcp --defrag-thold -dev -devd --device --device-draft --docker-repo -dr --draft-p-min
        --draft-p-split --dry-allowed-length --dry-base --dry-multiplier --dry-penalty-last-n --dry-sequence-breaker -dt --dynatemp-exp
        --dynatemp-range --embd-normalize -fa --fit -fit --fit-ctx --fit-target -fitc -fitt --flash-attn --frequency-penalty --gpu-layers
        --gpu-layers-draft --grammar --grammar-file -hf --hf-file --hf-repo --hf-repo-draft --hf-token -hfd -hff -hfr -hfrd -hft --host
        --image-max-tokens --image-min-tokens -j -jf --json-schema --json-schema-file --keep --kv-unified-per-slot -l --lazy-mode -lcd -lcs
        -lm --load-mode --log-colors --log-file --log-prompts-dir --log-verbosity --logit-bias --lookup-cache-dynamic --lookup-cache-static
        --lora --lora-scaled -lv -lzm -m --main-gpu --mcp-servers-config --mcp-servers-json -md --media-path -mg --min-p --mirostat
        --mirostat-ent --mirostat-lr -mm -mmdev --mmproj --mmproj-device --mmproj-url -mmu --model --model-draft --model-url --models-dir
        --models-max --models-preset --mtmd-batch-max-tokens -mu -n --n-cpu-ffn --n-cpu-moe --n-cpu-moe-draft --n-gpu-layers
        --n-gpu-layers-draft --n-predict -ncffn -ncmoe -ncmoed -ngl -ngld -np --numa -ot -otd --override-kv --override-tensor
        --override-tensor-draft --parallel --path --poll --poll-batch --poll-batch-draft --poll-draft --pooling --port --predict
        --presence-penalty --prio --prio-batch --prio-batch-draft --prio-draft -r -rea --reasoning --reasoning-budget
        --reasoning-budget-message --reasoning-effort --reasoning-format --repeat-last-n --repeat-penalty --reverse-prompt --rope-freq-base
        --rope-freq-scale --rope-scale --rope-scaling --rpc -s --sampler-seq --samplers --sampling-seq --seed --sleep-idle-seconds
        --slot-prompt-similarity --slot-save-path -sm --spec-draft-cpu-mask --spec-draft-cpu-mask-batch --spec-draft-cpu-range
        --spec-draft-cpu-strict --spec-draft-cpu-strict-batch --spec-draft-device --spec-draft-hf --spec-draft-model --spec-draft-n-cpu-moe
        --spec-draft-n-max --spec-draft-n-min --spec-draft-ncmoe --spec-draft-ngl --spec-draft-override-tensor --spec-draft-p-min
        --spec-draft-p-split --spec-draft-poll --spec-draft-poll-batch --spec-draft-prio --spec-draft-prio-batch --spec-draft-sampling
        --spec-draft-threads --spec-draft-threads-batch
        --spec-draft-type-k --spec-draft-type-v --spec-ngram-map-k-min-hits --spec-ngram-map-k-size-m
        --spec-ngram-map-k-size-n --spec-ngram-map-k4v-min-hits --spec-ngram-map-k4v-size-m --spec-ngram-map-k4v-size-n
        --spec-ngram-mod-n-match --spec-ngram-mod-n-max --spec-ngram-mod-n-min --spec-ngram-simple-min-hits --spec-ngram-simple-size-m
        --spec-ngram-simple-size-n --spec-synth-len --spec-synth-rates --spec-type --split-mode -sps --sse-ping-interval --ssl-cert-file
        --ssl-key-file --swa-checkpoints -t --tags -tb -tbd -td --temp --temperature --tensor-split --threads --threads-batch
        --threads-batch-draft --threads-draft --threads-http --timeout -to --tools --tools-runtime --top-k --top-n-sigma --top-nsigma
        --top-p -ts --typical --typical-p -ub --ubatch-size --ui-config --ui-config-file --verbosity --video-ffmpeg-dir --video-fps
        --video-timestamp-interval --webui-config --webui-config-file --xtc-probability --xtc-threshold --yarn-attn-factor --yarn-beta-fast
        --yarn-beta-slow --yarn-ext-factor --yarn-orig-ctx
        """,
    )
    | {"--control-vector-layer-range": 2},
    equals=False,
    nested=False,
    ours=ours(
        llm_model="""
        -m --model LLAMA_ARG_MODEL -mu --model-url LLAMA_ARG_MODEL_URL -dr --docker-repo LLAMA_ARG_DOCKER_REPO
        -hf -hfr --hf-repo LLAMA_ARG_HF_REPO -hff --hf-file LLAMA_ARG_HF_FILE
        --models-dir LLAMA_ARG_MODELS_DIR --models-preset LLAMA_ARG_MODELS_PRESET
        """,
        inventory_hostname="-a --alias LLAMA_ARG_ALIAS",
        llm_expose="--host LLAMA_ARG_HOST",
        llm_gpu="-fit --fit LLAMA_ARG_FIT -dev --device LLAMA_ARG_DEVICE CUDA_VISIBLE_DEVICES NVIDIA_VISIBLE_DEVICES",
        llama_cpp_gpu_layers="-ngl --gpu-layers --n-gpu-layers LLAMA_ARG_N_GPU_LAYERS",
        llama_cpp_mmproj="-mm --mmproj LLAMA_ARG_MMPROJ -mmu --mmproj-url LLAMA_ARG_MMPROJ_URL",
        llama_cpp_cache_type_k="-ctk --cache-type-k LLAMA_ARG_CACHE_TYPE_K",
        llama_cpp_cache_type_v="-ctv --cache-type-v LLAMA_ARG_CACHE_TYPE_V",
        llama_cpp_flash_attention="-fa --flash-attn LLAMA_ARG_FLASH_ATTN",
        llama_cpp_cache_ram_mib="-cram --cache-ram LLAMA_ARG_CACHE_RAM",
        llama_cpp_web_ui="--ui --webui --no-ui --no-webui LLAMA_ARG_UI LLAMA_ARG_NO_UI",
        llama_cpp_embeddings="--embedding --embeddings LLAMA_ARG_EMBEDDINGS",
        llama_cpp_pooling="--pooling LLAMA_ARG_POOLING",
        llm_context="-c --ctx-size LLAMA_ARG_CTX_SIZE",
        llm_slots="-np --parallel LLAMA_ARG_N_PARALLEL",
        llm_api_key="--api-key LLAMA_API_KEY --api-key-file LLAMA_ARG_API_KEY_FILE",
        llm_hf_token="-hft --hf-token HF_TOKEN",
        nothing="""
        --port LLAMA_ARG_PORT --metrics LLAMA_ARG_ENDPOINT_METRICS --slots --no-slots LLAMA_ARG_ENDPOINT_SLOTS LLAMA_ARG_NO_ENDPOINT_SLOTS
        -lv --verbosity --log-verbosity LLAMA_ARG_LOG_VERBOSITY HOME
        """,
    ),
    removed={
        "--draft": "--spec-draft-n-max or --spec-ngram-mod-n-max",
        "--draft-n": "--spec-draft-n-max or --spec-ngram-mod-n-max",
        "--draft-max": "--spec-draft-n-max or --spec-ngram-mod-n-max",
        "--draft-min": "--spec-draft-n-min or --spec-ngram-mod-n-min",
        "--draft-n-min": "--spec-draft-n-min or --spec-ngram-mod-n-min",
        "--spec-ngram-size-n": "--spec-ngram-{simple,map-k,map-k4v}-size-n or --spec-ngram-mod-n-match",
        "--spec-ngram-size-m": "--spec-ngram-{simple,map-k,map-k4v}-size-m",
        "--spec-ngram-min-hits": "--spec-ngram-{simple,map-k,map-k4v}-min-hits",
        "LLAMA_ARG_DRAFT_MAX": "LLAMA_ARG_SPEC_DRAFT_N_MAX",
        "LLAMA_ARG_DRAFT_MIN": "LLAMA_ARG_SPEC_DRAFT_N_MIN",
    },
    environment=frozenset(
        """
        HF_TOKEN LLAMA_API_KEY LLAMA_ARG_AGENT LLAMA_ARG_ALIAS LLAMA_ARG_API_KEY_FILE LLAMA_ARG_API_PREFIX LLAMA_ARG_BACKEND_SAMPLING
        LLAMA_ARG_BATCH LLAMA_ARG_CACHE_IDLE_SLOTS LLAMA_ARG_CACHE_PROMPT LLAMA_ARG_CACHE_RAM LLAMA_ARG_CACHE_REUSE LLAMA_ARG_CACHE_TYPE_K
        LLAMA_ARG_CACHE_TYPE_V LLAMA_ARG_CHAT_TEMPLATE LLAMA_ARG_CHAT_TEMPLATE_FILE LLAMA_ARG_CHAT_TEMPLATE_KWARGS
        LLAMA_ARG_CHECKPOINT_MIN_SPACING_NT LLAMA_ARG_CONTEXT_SHIFT LLAMA_ARG_CONT_BATCHING LLAMA_ARG_CORS_CREDENTIALS
        LLAMA_ARG_CORS_HEADERS LLAMA_ARG_CORS_METHODS LLAMA_ARG_CORS_ORIGINS LLAMA_ARG_CPU_MOE LLAMA_ARG_CTX_CHECKPOINTS LLAMA_ARG_CTX_SIZE
        LLAMA_ARG_DEFRAG_THOLD LLAMA_ARG_DEVICE LLAMA_ARG_DOCKER_REPO LLAMA_ARG_DRAFT_MAX LLAMA_ARG_DRAFT_MIN LLAMA_ARG_EMBEDDINGS
        LLAMA_ARG_ENDPOINT_METRICS LLAMA_ARG_ENDPOINT_PROPS LLAMA_ARG_ENDPOINT_SLOTS LLAMA_ARG_FIT LLAMA_ARG_FIT_CTX LLAMA_ARG_FIT_TARGET
        LLAMA_ARG_FLASH_ATTN LLAMA_ARG_HF_FILE LLAMA_ARG_HF_REPO LLAMA_ARG_HOST LLAMA_ARG_IMAGE_MAX_TOKENS LLAMA_ARG_IMAGE_MIN_TOKENS
        LLAMA_ARG_JINJA LLAMA_ARG_KV_OFFLOAD LLAMA_ARG_KV_UNIFIED LLAMA_ARG_KV_UNIFIED_PER_SLOT LLAMA_ARG_LAZY_MODE LLAMA_ARG_LOAD_MODE
        LLAMA_ARG_LOG_COLORS LLAMA_ARG_LOG_FILE LLAMA_ARG_LOG_JSONL LLAMA_ARG_LOG_PREFIX LLAMA_ARG_LOG_TIMESTAMPS LLAMA_ARG_LOG_VERBOSITY
        LLAMA_ARG_MAIN_GPU LLAMA_ARG_MCP_SERVERS_CONFIG LLAMA_ARG_MCP_SERVERS_JSON LLAMA_ARG_MMPROJ LLAMA_ARG_MMPROJ_AUTO
        LLAMA_ARG_MMPROJ_OFFLOAD LLAMA_ARG_MMPROJ_URL LLAMA_ARG_MODEL LLAMA_ARG_MODELS_AUTOLOAD LLAMA_ARG_MODELS_DIR LLAMA_ARG_MODELS_MAX
        LLAMA_ARG_MODELS_PRESET LLAMA_ARG_MODEL_URL LLAMA_ARG_MTMD_BATCH_MAX_TOKENS LLAMA_ARG_NO_HOST LLAMA_ARG_NUMA LLAMA_ARG_N_CPU_FFN
        LLAMA_ARG_N_CPU_MOE LLAMA_ARG_N_GPU_LAYERS LLAMA_ARG_N_GPU_LAYERS_DRAFT LLAMA_ARG_N_PARALLEL LLAMA_ARG_N_PREDICT LLAMA_ARG_OFFLINE
        LLAMA_ARG_OVERRIDE_TENSOR LLAMA_ARG_PERF LLAMA_ARG_POOLING LLAMA_ARG_PORT LLAMA_ARG_PREFILL_ASSISTANT LLAMA_ARG_REASONING
        LLAMA_ARG_REASONING_EFFORT LLAMA_ARG_REASONING_PRESERVE LLAMA_ARG_REPACK LLAMA_ARG_RERANKING LLAMA_ARG_REUSE_PORT
        LLAMA_ARG_ROPE_FREQ_BASE LLAMA_ARG_ROPE_FREQ_SCALE LLAMA_ARG_ROPE_SCALE LLAMA_ARG_ROPE_SCALING_TYPE LLAMA_ARG_RPC
        LLAMA_ARG_SKIP_CHAT_PARSING LLAMA_ARG_SPEC_DRAFT_BACKEND_SAMPLING LLAMA_ARG_SPEC_DRAFT_CACHE_TYPE_K
        LLAMA_ARG_SPEC_DRAFT_CACHE_TYPE_V LLAMA_ARG_SPEC_DRAFT_CPU_MOE LLAMA_ARG_SPEC_DRAFT_HF_REPO LLAMA_ARG_SPEC_DRAFT_MODEL
        LLAMA_ARG_SPEC_DRAFT_N_CPU_MOE LLAMA_ARG_SPEC_DRAFT_N_MAX LLAMA_ARG_SPEC_DRAFT_N_MIN LLAMA_ARG_SPEC_DRAFT_P_MIN
        LLAMA_ARG_SPEC_DRAFT_P_SPLIT LLAMA_ARG_SPEC_SYNTH_LEN LLAMA_ARG_SPEC_SYNTH_RATES LLAMA_ARG_SPEC_TYPE LLAMA_ARG_SPLIT_MODE
        LLAMA_ARG_SSE_PING_INTERVAL LLAMA_ARG_SSL_CERT_FILE LLAMA_ARG_SSL_KEY_FILE LLAMA_ARG_STATIC_PATH LLAMA_ARG_SWA_FULL LLAMA_ARG_TAGS
        LLAMA_ARG_TENSOR_SPLIT LLAMA_ARG_THINK LLAMA_ARG_THINK_BUDGET LLAMA_ARG_THINK_BUDGET_MESSAGE LLAMA_ARG_THREADS
        LLAMA_ARG_THREADS_HTTP LLAMA_ARG_TIMEOUT LLAMA_ARG_TOOLS LLAMA_ARG_TOOLS_RUNTIME LLAMA_ARG_TOP_K LLAMA_ARG_UBATCH LLAMA_ARG_UI
        LLAMA_ARG_UI_CONFIG LLAMA_ARG_UI_CONFIG_FILE LLAMA_ARG_UI_MCP_PROXY LLAMA_ARG_VIDEO_FFMPEG_DIR LLAMA_ARG_VIDEO_FPS
        LLAMA_ARG_VIDEO_TIMESTAMP_INTERVAL LLAMA_ARG_YARN_ATTN_FACTOR LLAMA_ARG_YARN_BETA_FAST LLAMA_ARG_YARN_BETA_SLOW
        LLAMA_ARG_YARN_EXT_FACTOR LLAMA_ARG_YARN_ORIG_CTX MTMD_BACKEND_DEVICE LLAMA_ARG_NO_AGENT LLAMA_ARG_NO_CACHE_IDLE_SLOTS
        LLAMA_ARG_NO_CACHE_PROMPT LLAMA_ARG_NO_CONTEXT_SHIFT LLAMA_ARG_NO_CONT_BATCHING LLAMA_ARG_NO_CORS_CREDENTIALS
        LLAMA_ARG_NO_ENDPOINT_SLOTS LLAMA_ARG_NO_JINJA LLAMA_ARG_NO_KV_OFFLOAD LLAMA_ARG_NO_KV_UNIFIED LLAMA_ARG_NO_LOG_JSONL
        LLAMA_ARG_NO_LOG_PREFIX LLAMA_ARG_NO_LOG_TIMESTAMPS LLAMA_ARG_NO_MMPROJ_AUTO LLAMA_ARG_NO_MMPROJ_OFFLOAD
        LLAMA_ARG_NO_MODELS_AUTOLOAD LLAMA_ARG_NO_PERF LLAMA_ARG_NO_PREFILL_ASSISTANT LLAMA_ARG_NO_REASONING_PRESERVE LLAMA_ARG_NO_REPACK
        LLAMA_ARG_NO_SKIP_CHAT_PARSING LLAMA_ARG_NO_SPEC_DRAFT_BACKEND_SAMPLING LLAMA_ARG_NO_UI LLAMA_ARG_NO_UI_MCP_PROXY HF_ENDPOINT
        HF_HOME HUGGINGFACE_HUB_CACHE LLAMA_ATTN_ROT_DISABLE LLAMA_BATCH_DEBUG LLAMA_CACHE LLAMA_GRAPH_INPUT_DEBUG LLAMA_GRAPH_RESULT_DEBUG
        LLAMA_GRAPH_REUSE_DISABLE LLAMA_KV_CACHE_DEBUG LLAMA_MEDIA_MARKER LLAMA_SERVER_SLOTS_DEBUG LLAMA_TRACE LLGUIDANCE_LOG_LEVEL
        LLAMA_ARG_FREQUENCY_PENALTY LLAMA_ARG_MIN_P LLAMA_ARG_PRESENCE_PENALTY LLAMA_ARG_REPEAT_PENALTY LLAMA_ARG_SPEC_DRAFT_SAMPLING
        LLAMA_ARG_TEMPERATURE LLAMA_ARG_TOP_P MODEL_ENDPOINT
        """.split()
    ),
    prefixes=("GGML_", "KMP_"),
    keyed=(
        "/v1/models",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/responses",
        "/v1/embeddings",
        "/v1/rerank",
        "/v1/messages",
        "/metrics",
        "/props",
        "/tokenize",
    ),
    unkeyed=("/health", "/v1/health", "/"),
    several_keys=True,
    metrics=tuple(
        """
        llamacpp:prompt_tokens_total llamacpp:prompt_tokens_cached_total llamacpp:prompt_seconds_total llamacpp:tokens_predicted_total
        llamacpp:tokens_predicted_seconds_total llamacpp:n_decode_total llamacpp:n_tokens_max llamacpp:spec_decode_num_draft_tokens_total
        llamacpp:spec_decode_num_accepted_tokens_total llamacpp:spec_decode_num_drafts_total llamacpp:prompt_tokens_seconds
        llamacpp:predicted_tokens_seconds llamacpp:requests_processing llamacpp:requests_deferred llamacpp:n_busy_slots_per_decode
        """.split()
    ),
)
