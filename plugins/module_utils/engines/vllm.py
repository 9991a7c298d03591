# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""vLLM's OpenAI server: what its pinned version reads, serves and measures.

Sources, in the source distribution of vLLM 0.31.0:

- options: vllm/engine/arg_utils.py, vllm/entrypoints/launchers/cli_args.py, with the types of the fields in vllm/config
- environment variables: vllm/envs.py, without those of builds, of Ray and of other hardware
- routes: the files api_router.py under vllm/entrypoints; the key: vllm/entrypoints/serve/middleware/authenticate.py, which guards what
  begins with /v1, /v2, /inference or /cohere. The environment holds one key; several fit on the command line only, for all to see
- metrics: vllm/v1/metrics/loggers.py, those that are always there (prometheus_client adds _total to a counter's name)
"""

from __future__ import annotations

from .contract import Contract, options, ours

CONTRACT = Contract(
    title="vLLM",
    version="v0.31.0",
    flags=options(
        switches="""
        --allow-credentials --allow-deprecated-quantization --async-scheduling --cohere-is-reasoning-model --cudagraph-metrics
        --data-parallel-external-lb --data-parallel-hybrid-lb --dcp-q-replicate --disable-cascade-attn --disable-chunked-mm-input
        --disable-custom-all-reduce --disable-fastapi-docs --disable-hybrid-kv-cache-manager --disable-nccl-for-dp-synchronization
        --disable-sliding-window --disable-uvicorn-access-log --enable-auto-tool-choice --enable-batch-sharded-sampling
        --enable-chunked-prefill --enable-cumem-allocator --enable-dbo --enable-elastic-ep --enable-ep-weight-filter --enable-eplb
        --enable-expert-parallel --enable-fault-tolerance --enable-flash-late-interaction --enable-flashinfer-autotune
        --enable-force-include-usage --enable-layerwise-nvtx-tracing --enable-log-deltas --enable-log-outputs --enable-log-requests
        --enable-logging-iteration-details --enable-lora --enable-mamba-cache-stochastic-rounding --enable-mamba-shared-prefix-checkpoint
        --enable-mfu-metrics --enable-mixed-moe-lora-format --enable-mm-embeds --enable-moe-shared-loras --enable-nccl-comm-suspend
        --enable-offline-docs --enable-per-request-metrics --enable-prefix-caching --enable-prompt-embeds --enable-prompt-tokens-details
        --enable-request-id-headers --enable-return-routed-experts --enable-scale-out --enable-server-load-tracking --enable-sleep-mode
        --enable-ssl-refresh --enable-tokenizer-info-endpoint --enable-tower-connector-lora --enable-trace-replay --enforce-eager
        --exclude-tools-when-tool-choice-none --fail-on-environ-validation --fully-sharded-loras --interleave-mm-strings
        --jit-monitor-verbose --kv-cache-metrics --kv-sharing-fast-prefill --language-model-only --log-error-stack
        --long-prefill-token-threshold-adaptive --mm-device-do-normalize --mm-encoder-only --numa-bind --ray-workers-use-nsight
        --return-sampling-mask --return-tokens-as-token-ids --scheduler-reserve-full-isl --skip-mm-profiling --skip-tokenizer-init
        --specialize-active-lora --swa-bounded-replay --tokens-only --trust-remote-code --trust-request-chat-template
        --trust-request-mm-kwargs --use-fp64-gumbel --use-replayssm --use-tqdm-on-load
        """,
        none="""
        --aggregate-engine-logging --data-parallel-multi-port-external-lb --disable-log-stats -dpe -dph -dpm -ep --grpc -h --headless --help
        """,
        one="""
        -ac --additional-config --all2all-backend --allowed-headers --allowed-local-media-path --allowed-methods --allowed-origins
        --anthropic-disabled-thinking-effort --api-server-count -asc --attention-backend --attention-config --aux-output-config --block-size
        -cc --chat-template --chat-template-content-format --code-revision --cohere-format --compilation-config --config --config-format
        --convert --cp-kv-cache-interleave-size --cpu-distributed-timeout-seconds --cpu-offload-gb --data-parallel-address
        --data-parallel-backend --data-parallel-rank --data-parallel-rpc-port --data-parallel-size --data-parallel-size-local
        --data-parallel-start-rank --data-parallel-supervisor-port --dbo-decode-token-threshold --dbo-prefill-token-threshold -dc -dcp
        --dcp-comm-backend --dcp-kv-cache-interleave-size --decode-context-parallel-size --default-chat-template-kwargs --default-mm-loras
        --device-ids --device-memory-utilization --diffusion-config --disable-access-log-for-endpoints --distributed-executor-backend
        --distributed-timeout-seconds --download-dir -dp --dp-supervisor-probe-failure-threshold --dp-supervisor-probe-interval-s
        --dp-supervisor-probe-timeout-s --dp-sync-interval -dpa -dpb -dpl -dpn -dpp -dpr --dtype --ec-manager-config --ec-transfer-config
        --elastic-ep-max-dp-size --engram-config --eplb-config --expert-placement-strategy --fault-tolerance-config --fingerprint-mode
        --fingerprint-value --gdn-prefill-backend --generation-config --gpu-memory-utilization --h11-max-header-count
        --h11-max-incomplete-event-size --hf-config-path --hf-overrides --host --io-processor-plugin --ir-op-priority --jit-monitor-mode
        --kda-decode-backend --kda-prefill-backend --kernel-config --kv-cache-dtype --kv-cache-memory-bytes --kv-cache-metrics-sample
        --kv-events-config --kv-offloading-backend --kv-offloading-size --kv-transfer-config --limit-mm-per-prompt --linear-backend
        --load-format --log-config-file --log-level --logging-config --logprobs-mode --long-prefill-token-threshold --lora-dtype
        --mamba-backend --mamba-block-size --mamba-cache-dtype --mamba-cache-mode --mamba-cache-philox-rounds --mamba-ssm-cache-dtype
        --mamba-ssu-algorithm --master-addr --master-port --max-cpu-loras --max-cudagraph-capture-size --max-log-len --max-logprobs
        --max-lora-cls-labels --max-lora-rank --max-loras --max-model-len --max-num-active-seqs --max-num-batched-tokens
        --max-num-queued-reqs --max-num-queued-tokens --max-num-scheduled-tokens --max-num-seqs --max-parallel-loading-workers
        --media-io-kwargs --middleware --mm-encoder-attn-backend --mm-encoder-attn-dtype --mm-encoder-fp8-scale-path
        --mm-encoder-fp8-scale-save-margin --mm-encoder-fp8-scale-save-path --mm-encoder-tp-mode --mm-hasher-algorithm
        --mm-ipc-gpu-memory-gb --mm-processor-cache-gb --mm-processor-cache-type --mm-processor-device --mm-processor-kwargs
        --mm-shm-cache-max-object-size-mb --mm-tensor-ipc --model --model-class-overrides --model-impl --model-loader-extra-config
        --moe-backend -n --nnodes --node-rank --num-gpu-blocks-override -O --offload-backend --offload-group-size --offload-num-in-group
        --offload-prefetch-step --optimization-level --otlp-traces-endpoint --override-generation-config -pcp
        --per-request-spec-decode-metrics --performance-mode --pipeline-parallel-size --pooler-config --port -pp
        --prefill-context-parallel-size --prefill-schedule-interval --prefix-cache-retention-interval --prefix-caching-hash-algo
        --prefix-match-unit --profiler-config --pt-load-map-location -q --quantization --quantization-config -r --reasoning-config
        --reasoning-parser --reasoning-parser-plugin --renderer-num-workers --replayssm-buffer-len --response-role --revision --root-path
        --runner --safetensors-load-strategy --safetensors-prefetch-block-size --safetensors-prefetch-num-threads -sc --scheduler-cls
        --scheduling-policy --seed --show-hidden-metrics-for-version --shutdown-timeout --sparse-indexer-topk-backend --spec-method
        --spec-model --spec-tokens --speculative-config --sse-keep-alive-interval --ssl-ca-certs --ssl-cert-reqs --ssl-certfile
        --ssl-ciphers --ssl-keyfile --stream-interval --structured-outputs-config --tensor-parallel-size --tokenizer --tokenizer-mode
        --tokenizer-revision --tool-call-parser --tool-parser-plugin --tool-server --tool-strict-level -tp --ubatch-size --uds
        --uvicorn-log-level --video-pruning-method --video-pruning-rate --watermark --watermark-config --weight-transfer-config --worker-cls
        --worker-extension-cls
        """,
        many="""
        --allowed-media-domains --api-key --collect-detailed-traces --cpu-offload-params --cudagraph-capture-sizes --hf-token
        --ignore-patterns --kv-cache-dtype-skip-layers --logits-processors --lora-modules --lora-target-modules --numa-bind-cpus
        --numa-bind-nodes --offload-params --served-model-name --sleep-preserve-parameter-names
        """,
    ),
    equals=True,
    nested=True,
    ours=ours(
        llm_model="--model",
        llm_revision="--revision",
        inventory_hostname="--served-model-name",
        llm_expose="--host --uds VLLM_HOST_IP",
        llm_gpu="""
        -tp --tensor-parallel-size --device-memory-utilization --kv-cache-memory-bytes --device-ids
        CUDA_VISIBLE_DEVICES NVIDIA_VISIBLE_DEVICES
        """,
        vllm_gpu_memory_utilization="--gpu-memory-utilization",
        llm_context="--max-model-len",
        llm_slots="--max-num-seqs",
        vllm_quantization="-q --quantization",
        vllm_kv_cache_dtype="--kv-cache-dtype",
        vllm_max_num_batched_tokens="--max-num-batched-tokens",
        llm_termination_seconds="--shutdown-timeout",
        llm_api_key="--api-key VLLM_API_KEY",
        llm_hf_token="--hf-token HF_TOKEN",
        nothing="--port --config HF_HUB_OFFLINE HOME USER VLLM_NO_USAGE_STATS DO_NOT_TRACK",
    ),
    removed={
        "--task": "--runner and --convert",
        "--swap-space": "",
        "--disable-log-requests": "--no-enable-log-requests",
        "--calculate-kv-scales": "",
    },
    environment=frozenset(
        """
        VLLM_ADAPTIVE_VERIFICATION_PROFILE_CONTEXT_LEN VLLM_ALLOW_CHUNKED_LOCAL_ATTN_WITH_HYBRID_KV_CACHE VLLM_ALLOW_INSECURE_SERIALIZATION
        VLLM_ALLOW_LONG_MAX_MODEL_LEN VLLM_ALLOW_RUNTIME_LORA_UPDATING VLLM_ALLREDUCE_USE_FLASHINFER VLLM_ALLREDUCE_USE_FLASHINFER_PCIE_IPC
        VLLM_ALLREDUCE_USE_SYMM_MEM VLLM_API_KEY VLLM_ASSETS_CACHE VLLM_ASSETS_CACHE_MODEL_CLEAN VLLM_AUDIO_FETCH_TIMEOUT
        VLLM_B12X_MOE_FP4_FORCE_A16 VLLM_BATCH_INVARIANT VLLM_BLOCKSCALE_FP8_GEMM_FLASHINFER VLLM_CACHE_ROOT VLLM_COMPILE_CACHE_SAVE_FORMAT
        VLLM_COMPUTE_NANS_IN_LOGITS VLLM_CONFIGURE_LOGGING VLLM_CONFIG_ROOT VLLM_CUDART_SO_PATH VLLM_CUDA_COMPATIBILITY_PATH
        VLLM_CUSTOM_SCOPES_FOR_PROFILING VLLM_DBO_COMM_SMS VLLM_DCP_Q_REPLICATE VLLM_DEBUG_DUMP_PATH VLLM_DEBUG_LOG_API_SERVER_RESPONSE
        VLLM_DEBUG_MFU_METRICS VLLM_DEBUG_WORKSPACE VLLM_DEEPEPLL_NVFP4_DISPATCH VLLM_DEEPEP_BUFFER_SIZE_MB
        VLLM_DEEPEP_HIGH_THROUGHPUT_FORCE_INTRA_NODE VLLM_DEEPEP_LOW_LATENCY_USE_MNNVL VLLM_DEEPEP_V2_ALLOW_HYBRID_MODE
        VLLM_DEEPEP_V2_ALLOW_MULTIPLE_REDUCTION VLLM_DEEPEP_V2_PREFER_OVERLAP VLLM_DEEP_GEMM_WARMUP VLLM_DISABLED_KERNELS
        VLLM_DISABLE_COMPILE_CACHE VLLM_DISABLE_DSV4_MEGAMOE_SHARED_EXPERT_FUSION VLLM_DISABLE_LOG_LOGO VLLM_DISABLE_PYNCCL
        VLLM_DISABLE_REQUEST_ID_RANDOMIZATION VLLM_DISABLE_SHARED_EXPERTS_STREAM VLLM_DISTRIBUTED_USE_SPLIT_GROUP VLLM_DO_NOT_TRACK
        VLLM_DP_MASTER_IP VLLM_DP_MASTER_PORT VLLM_DP_RANK VLLM_DP_RANK_LOCAL VLLM_DP_SIZE VLLM_EC_SIDE_CHANNEL_HOST
        VLLM_EC_SIDE_CHANNEL_PORT VLLM_ELASTIC_EP_DRAIN_REQUESTS VLLM_ELASTIC_EP_SCALE_UP_LAUNCH VLLM_ENABLE_COHERE_API
        VLLM_ENABLE_CUDAGRAPH_GC VLLM_ENABLE_CUDA_COMPATIBILITY VLLM_ENABLE_FLA_PACKED_RECURRENT_DECODE VLLM_ENABLE_GEMM_RS
        VLLM_ENABLE_HPC_OPS VLLM_ENABLE_INDUCTOR_COORDINATE_DESCENT_TUNING VLLM_ENABLE_INDUCTOR_MAX_AUTOTUNE VLLM_ENABLE_PREGRAD_PASSES
        VLLM_ENABLE_RESPONSES_API_STORE VLLM_ENABLE_STARTUP_PLAN VLLM_ENABLE_V1_MULTIPROCESSING VLLM_ENFORCE_STRICT_TOOL_CALLING
        VLLM_ENGINE_ITERATION_TIMEOUT_S VLLM_ENGINE_READY_TIMEOUT_S VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS VLLM_FASTSAFETENSORS_QUEUE_SIZE
        VLLM_FLASHINFER_ALLREDUCE_BACKEND VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR VLLM_FLASHINFER_AUTOTUNE_SKIP_OPS
        VLLM_FLASHINFER_WORKSPACE_BUFFER_SIZE VLLM_FLOAT32_MATMUL_PRECISION VLLM_FORCE_AOT_LOAD VLLM_GC_DEBUG VLLM_GDN_DECODE_KERNEL
        VLLM_GPT_OSS_HARMONY_SYSTEM_INSTRUCTIONS VLLM_GPT_OSS_SYSTEM_TOOL_MCP_LABELS VLLM_GPU_NIC_PCIE_MAPPING VLLM_GPU_SYNC_CHECK
        VLLM_HAS_FLASHINFER_CUBIN VLLM_HOST_IP VLLM_HTTP_TIMEOUT_KEEP_ALIVE VLLM_HUMMING_INPUT_QUANT_CONFIG VLLM_HUMMING_MOE_GEMM_TYPE
        VLLM_HUMMING_ONLINE_QUANT_CONFIG VLLM_HUMMING_USE_F16_ACCUM VLLM_IMAGE_FETCH_TIMEOUT VLLM_KEEP_ALIVE_ON_ENGINE_DEATH
        VLLM_KIMI_K3_AUX_ATTN_RES_STREAM VLLM_KIMI_K3_GEMM_AR VLLM_KIMI_K3_SHARD_SP_SHARED_EXPERT VLLM_KV_CACHE_LAYOUT
        VLLM_KV_EVENTS_USE_INT_BLOCK_HASHES VLLM_KV_OFFLOAD_MAX_BATCH_DESCRIPTORS VLLM_LOGGING_COLOR VLLM_LOGGING_CONFIG_PATH
        VLLM_LOGGING_LEVEL VLLM_LOGGING_PREFIX VLLM_LOGGING_STREAM VLLM_LOG_BATCHSIZE_INTERVAL VLLM_LOG_MODEL_INSPECTION
        VLLM_LOG_STATS_INTERVAL VLLM_LOOPBACK_IP VLLM_LORA_DISABLE_PDL VLLM_LORA_ENABLE_DUAL_STREAM VLLM_LORA_RESOLVER_CACHE_DIR
        VLLM_LORA_RESOLVER_HF_REPO_LIST VLLM_MARLIN_INPUT_DTYPE VLLM_MARLIN_USE_ATOMIC_ADD VLLM_MAX_AUDIO_CLIP_FILESIZE_MB
        VLLM_MAX_AUDIO_DECODE_BYTES VLLM_MAX_AUDIO_DECODE_DURATION_S VLLM_MAX_AUDIO_PREPROCESS_WORKERS VLLM_MAX_BAD_WORDS_TOTAL_TOKENS
        VLLM_MAX_COMPLETION_PROMPTS VLLM_MAX_EMBED_DECODE_BYTES VLLM_MAX_IMAGE_PIXELS VLLM_MAX_MEDIA_DOWNLOAD_SIZE_MB VLLM_MAX_NUM_BAD_WORDS
        VLLM_MAX_N_SEQUENCES VLLM_MAX_STOP_STRINGS VLLM_MAX_TOKENS_PER_EXPERT_FP4_MOE VLLM_MEDIA_CACHE VLLM_MEDIA_CACHE_MAX_SIZE_MB
        VLLM_MEDIA_CACHE_TTL_HOURS VLLM_MEDIA_CONNECTOR VLLM_MEDIA_FETCH_MAX_RETRIES VLLM_MEDIA_LOADING_THREAD_COUNT
        VLLM_MEDIA_URL_ALLOW_REDIRECTS VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS VLLM_MLA_DISABLE VLLM_MODEL_REDIRECT_PATH
        VLLM_MOE_ROUTING_SIMULATION_STRATEGY VLLM_MOE_SKIP_PADDING VLLM_MOE_USE_DEEP_GEMM VLLM_MOONCAKE_ABORT_REQUEST_TIMEOUT
        VLLM_MOONCAKE_BOOTSTRAP_PORT VLLM_MOONCAKE_CONNECTOR_TIMEOUT VLLM_MOONCAKE_DISK_STAGING_USABLE_RATIO VLLM_MOONCAKE_LOAD_RECV_THREADS
        VLLM_MOONCAKE_STORE_TIER_LOG VLLM_MQ_MAX_CHUNK_BYTES_MB VLLM_MSGPACK_ZERO_COPY_THRESHOLD VLLM_MULTI_STREAM_GEMM_TOKEN_THRESHOLD
        VLLM_MXFP4_EMULATION_DEQUANT_AT_LOAD VLLM_MXFP8_EMULATION_DEQUANT_AT_LOAD VLLM_NCCL_SO_PATH VLLM_NIC_SELECTION_VARS
        VLLM_NIXL_SIDE_CHANNEL_HOST VLLM_NIXL_SIDE_CHANNEL_PORT VLLM_NO_USAGE_STATS VLLM_NVTX_SCOPES_FOR_PROFILING
        VLLM_OBJECT_STORAGE_SHM_BUFFER_NAME VLLM_P2P_SIDE_CHANNEL_HOST VLLM_P2P_SIDE_CHANNEL_PORT VLLM_PATTERN_MATCH_DEBUG VLLM_PLUGINS
        VLLM_PORT VLLM_PP_LAYER_PARTITION VLLM_PROCESS_NAME_PREFIX VLLM_RAISE_ON_LOGIT_NANS VLLM_RANDOMIZE_DP_DUMMY_INPUTS
        VLLM_REGEX_COMPILATION_TIMEOUT_S VLLM_REPLICATE_EMBED VLLM_RINGBUFFER_WARNING_INTERVAL VLLM_RPC_BASE_PATH VLLM_RUST_FRONTEND_PATH
        VLLM_SERVER_DEV_MODE VLLM_SHARED_EXPERTS_STREAM_TOKEN_THRESHOLD VLLM_SKIP_MODEL_NAME_VALIDATION VLLM_SKIP_P2P_CHECK
        VLLM_SPARSE_INDEXER_MAX_LOGITS_MB VLLM_SSM_CONV_STATE_LAYOUT VLLM_SYSTEM_START_DATE VLLM_TOOL_JSON_ERROR_AUTOMATIC_RETRY
        VLLM_TOOL_PARSE_REGEX_TIMEOUT_SECONDS VLLM_TRACE_FUNCTION VLLM_TRITON_FORCE_FIRST_CONFIG VLLM_TRITON_JIT_WARMUP_NUM_THREADS
        VLLM_TRITON_USE_TD VLLM_TUNED_CONFIG_FOLDER VLLM_USAGE_SOURCE VLLM_USAGE_STATS_SERVER VLLM_USE_AOT_COMPILE
        VLLM_USE_BREAKABLE_CUDAGRAPH VLLM_USE_BYTECODE_HOOK VLLM_USE_DEEP_GEMM VLLM_USE_DEEP_GEMM_E8M0 VLLM_USE_DEEP_GEMM_TMA_ALIGNED_SCALES
        VLLM_USE_DIRECT_DCP_A2A VLLM_USE_DIRECT_DCP_KV_GATHER VLLM_USE_DIRECT_DCP_Q_GATHER VLLM_USE_EXPERIMENTAL_PARSER_CONTEXT
        VLLM_USE_FASTOKENS VLLM_USE_FLASHINFER_MOE_INT4 VLLM_USE_FLASHINFER_SAMPLER VLLM_USE_FUSED_MOE_GROUPED_TOPK VLLM_USE_HW_AGNOSTIC
        VLLM_USE_LAYERNAME VLLM_USE_MEGA_AOT_ARTIFACT VLLM_USE_MODELSCOPE VLLM_USE_NCCL_SYMM_MEM VLLM_USE_OINK_OPS VLLM_USE_RUST_FRONTEND
        VLLM_USE_SIMPLE_KV_OFFLOAD VLLM_USE_SPINLOOP_EXT VLLM_USE_STANDALONE_COMPILE VLLM_USE_TRITON_AWQ VLLM_USE_V2_MODEL_RUNNER
        VLLM_V1_OUTPUT_PROC_CHUNK_SIZE VLLM_V1_USE_OUTLINES_CACHE VLLM_VIDEO_FETCH_TIMEOUT VLLM_VIDEO_LOADER_BACKEND
        VLLM_WEIGHT_OFFLOADING_DISABLE_PIN_MEMORY VLLM_WEIGHT_OFFLOADING_DISABLE_UVA VLLM_WORKER_MULTIPROC_METHOD
        VLLM_WORKER_SHUTDOWN_TIMEOUT_SECONDS VLLM_XGRAMMAR_CACHE_MB DO_NOT_TRACK FORCE_COLOR LOCAL_RANK NO_COLOR
        """.split()
    ),
    prefixes=(
        "FLASHINFER_",
        "HF_",
        "MKL_",
        "OTEL_",
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
    keyed=(
        "/v1/models",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/responses",
        "/v1/embeddings",
        "/v1/score",
        "/v1/rerank",
        "/v1/messages",
        "/v1/audio/transcriptions",
    ),
    unkeyed=(
        "/health",
        "/ping",
        "/metrics",
        "/load",
        "/version",
        "/tokenize",
        "/detokenize",
        "/invocations",
        "/pooling",
        "/classify",
        "/score",
        "/rerank",
        "/generative_scoring",
        "/docs",
        "/openapi.json",
    ),
    several_keys=False,
    metrics=tuple(
        """
        vllm:num_requests_running vllm:num_requests_waiting vllm:num_requests_waiting_by_reason vllm:engine_sleep_state
        vllm:kv_cache_usage_perc vllm:prefix_cache_queries_total vllm:prefix_cache_hits_total vllm:external_prefix_cache_queries_total
        vllm:external_prefix_cache_hits_total vllm:mm_cache_queries_total vllm:mm_cache_hits_total vllm:num_preemptions_total
        vllm:prompt_tokens_total vllm:prompt_tokens_by_source_total vllm:prompt_tokens_cached_total vllm:generation_tokens_total
        vllm:request_success_total vllm:request_prompt_tokens vllm:request_generation_tokens vllm:iteration_tokens_total
        vllm:request_max_num_generation_tokens vllm:request_params_n vllm:request_params_max_tokens vllm:time_to_first_token_seconds
        vllm:inter_token_latency_seconds vllm:request_time_per_output_token_seconds vllm:e2e_request_latency_seconds
        vllm:request_queue_time_seconds vllm:request_inference_time_seconds vllm:request_prefill_time_seconds
        vllm:request_decode_time_seconds vllm:request_num_preemptions vllm:request_prefill_kv_computed_tokens vllm:cache_config_info
        """.split()
    ),
)
