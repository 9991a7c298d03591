# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run llama.cpp's own llama-bench in the place of a deployment's server: same weights, same share of a GPU, same node pool.

Both do not fit into the share at once: the server is scaled to 0, and brought back in any case. Where that could not be done, because the
run was killed, the next run of site.yml does it: it wants the server's replica, and removes the Job, which ends by itself as well.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable

from ..errors import UserError
from ..measure import spread
from . import ready
from .apply import INSTANCE, delete_object, path_of
from .client import MERGE_PATCH, Kube
from .kinds import BY_NAME, POD

# On the Job's pods: the deployment whose place they take. Not the instance label, which the Service and the Deployment select by.
BENCH = "selfhosted.llm/bench"
# Options of the server that decide its speed, and that llama-bench has too.
SHARED = ("--n-gpu-layers", "--flash-attn", "--cache-type-k", "--cache-type-v", "--split-mode")


def arguments(server: list[str], prompt_tokens: int, answer_tokens: int) -> list[str]:
    """llama-bench's arguments for what a server with these arguments runs."""
    options = {name: value for name, value in zip(server, server[1:], strict=False) if name in ("--model", *SHARED)}
    if options.get("--n-gpu-layers") == "all":
        options["--n-gpu-layers"] = "999"  # it takes a number only
    return [
        *(word for option in options.items() for word in option),
        *("--n-prompt", str(prompt_tokens), "--n-gen", str(answer_tokens), "--output", "jsonl"),
    ]


def job(deployment: dict, image: str, args: list[str], seconds: int) -> dict:
    """The Job for a live llama.cpp Deployment."""
    metadata = deployment["metadata"]
    pod = copy.deepcopy(deployment["spec"]["template"]["spec"])
    server = pod["containers"][0]
    kept = {key: server[key] for key in ("resources", "securityContext", "volumeMounts") if key in server}
    pod |= {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0}  # it has nothing to finish
    pod["containers"] = [
        kept
        | {"name": "llama-bench", "image": image, "command": ["llama-bench"], "args": args}
        | {"env": [{"name": "PATH", "value": "/app:/usr/local/bin:/usr/bin:/bin"}], "terminationMessagePolicy": "FallbackToLogsOnError"}
    ]
    return {
        "apiVersion": BY_NAME["Job"].api,
        "kind": "Job",
        "metadata": {"name": f"{metadata['name']}-bench", "namespace": metadata["namespace"], "labels": metadata["labels"]},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": seconds,
            "template": {"metadata": {"labels": {BENCH: metadata["name"]}}, "spec": pod},
        },
    }


def run(kube: Kube, deployment: dict, bench: dict, timeout: float, report: Callable[[str, float], None]) -> list[dict]:
    """Scale the server down, run the Job, bring the server back.

    Args:
        deployment: the live Deployment.
        bench: the Job.
        timeout: seconds for the Job, and for the server to end and to come back.

    Returns:
        For each test its name ``test``, ``speed`` (tokens per second, a spread, see measure) and ``build`` (of llama.cpp).

    Raises:
        UserError: the Job failed, or the server did not come back.
    """
    name, namespace = deployment["metadata"]["name"], deployment["metadata"]["namespace"]
    try:
        _scale(kube, deployment, 0)
        delete_object(kube, bench, check_mode=False)  # of an interrupted run
        for label in (INSTANCE, BENCH):
            _wait_until_gone(kube, namespace, f"{label}={name}", timeout)
        live = kube.request("POST", BY_NAME["Job"].path(namespace), bench)
        state = ready.wait(kube, live, timeout, lambda text, elapsed: report(text.partition("{")[0] or "llama-bench runs", elapsed))
        if not state.done:
            raise UserError(f"The Job {bench['metadata']['name']} {'failed' if state.failed else 'did not end in time'}: {state.text}.")
        results = _results(kube, bench)
    finally:  # as short as possible: after Ctrl-C nobody waits
        try:
            delete_object(kube, bench, check_mode=False)
        finally:
            _scale(kube, deployment, deployment["spec"]["replicas"])
    state = ready.wait(kube, kube.request("GET", path_of(deployment)), timeout, report)
    if not state.done:
        raise UserError(f"{name} did not come back after llama-bench: {state.text}. Run site.yml.")
    return results


def _scale(kube: Kube, deployment: dict, replicas: int) -> None:
    kube.request("PATCH", f"{path_of(deployment)}/scale", {"spec": {"replicas": replicas}}, content_type=MERGE_PATCH)


def _wait_until_gone(kube: Kube, namespace: str, selector: str, timeout: float) -> None:
    end = time.monotonic() + timeout
    while kube.request("GET", POD.path(namespace), query={"labelSelector": selector})["items"]:
        if time.monotonic() > end:
            raise UserError(f"The pods of {selector} do not end within {timeout:.0f} s.")
        time.sleep(0.5)


def _results(kube: Kube, bench: dict) -> list[dict]:
    """What llama-bench printed: a JSON object on a line for each test, among messages."""
    namespace, (label,) = bench["metadata"]["namespace"], bench["spec"]["template"]["metadata"]["labels"].items()
    (pod,) = kube.request("GET", POD.path(namespace), query={"labelSelector": "=".join(label)})["items"]
    log = kube.text(POD.path(namespace, pod["metadata"]["name"]) + "/log")
    tests = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [
        {
            "test": f"pp{test['n_prompt']}" if test["n_prompt"] else f"tg{test['n_gen']}",
            "speed": spread(test["samples_ts"]),
            "build": test["build_commit"],
        }
        for test in tests
    ]
