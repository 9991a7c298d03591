# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action behind selfhosted.llm.bench; its documentation is in plugins/modules/bench.py."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ansible_collections.selfhosted.llm.plugins.module_utils import chart, measure
from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.files import now, write_atomically
from ansible_collections.selfhosted.llm.plugins.module_utils.kube import llama_bench
from ansible_collections.selfhosted.llm.plugins.module_utils.kube.running import Running
from ansible_collections.selfhosted.llm.plugins.plugin_utils.action import Progress
from ansible_collections.selfhosted.llm.plugins.plugin_utils.running import RunningAction, say
from ansible_collections.selfhosted.llm.plugins.plugin_utils.table import table


class ActionModule(RunningAction):
    """Measure a deployment under load, or llama.cpp alone in its place; keep the result and compare it with the last one."""

    argument_spec = RunningAction.argument_spec | {
        "concurrency": {"type": "list", "elements": "int", "default": []},
        "slots": {"type": "int", "required": True},
        "requests": {"type": "int", "default": 4},
        "prompt_tokens": {"type": "int", "default": 512},
        "answer_tokens": {"type": "int", "default": 128},
        "tolerance": {"type": "float", "default": 0.1},
        "history": {"type": "path", "required": True},
        "chart": {"type": "path"},
        "raw": {"type": "bool", "default": False},
        "raw_image": {"type": "str"},
        "timeout": {"type": "int", "default": 1800},
    }

    def execute(self, args: dict, host: str) -> dict:
        for name in ("requests", "prompt_tokens", "answer_tokens"):
            if args[name] < 1:
                raise UserError(f"{host}: llm_bench_{name} is {args[name]}; it must be at least 1.")
        if wrong := [clients for clients in args["concurrency"] if clients < 1]:
            raise UserError(f"{host}: llm_bench_concurrency has {wrong[0]}; each must be at least 1.")
        path = os.path.expanduser(args["history"])
        runs = measure.history(path)  # what cannot be read is said before minutes are spent
        with self.running(args, args["instance"]) as (deployment,):
            run = {
                "made": now(),
                "kind": "raw" if args["raw"] else "load",
                **deployment.facts(),
                "setting": {name: args[name] for name in ("prompt_tokens", "answer_tokens")},
            }
            run |= (self._raw if args["raw"] else self._load)(deployment, args, host)
        if self._task.check_mode:
            return {"changed": False}
        before = measure.like(runs, run)
        last = before[-1] if before else None
        measure.remember(path, run)
        worse = measure.regressions(run, before, args["tolerance"])
        say([f"{host}: {run['model']}, {run['image']}, {run['share']}", *table(_rows(run, last)), *_compared(run, last, worse, args)])
        if args["chart"] and not args["raw"]:
            write_atomically(os.path.expanduser(args["chart"]), chart.svg(run, last), 0o644)
        warnings = [f"{host} is slower than last time: {text}." for text in worse]
        if failed := [one for one in run["results"] if one.get("failures")]:
            said = "; ".join(f"{one['failures']} of {one['requests']} with {one['clients']} at once ({one['failure']})" for one in failed)
            raise UserError(f"{host}: requests failed: {said}.")
        return {"changed": False, "run": run, "regressions": worse, "warnings": warnings}

    def _load(self, deployment: Running, args: dict, host: str) -> dict:
        if deployment.embeds:
            raise UserError(f"{host} serves embeddings, which this bench does not measure.")
        levels = sorted(set(args["concurrency"])) or measure.levels(args["slots"])
        shape = f"{args['prompt_tokens']} tokens of prompt and {args['answer_tokens']} of answer"
        if self._task.check_mode:
            say(
                [
                    f"{host}: would ask for chat completions with {shape}, {args['requests']} of each client, by "
                    f"{', '.join(map(str, levels))} clients at once, and add a line to {args['history']}."
                ]
            )
            return {}
        endpoint, results = deployment.endpoint(), []
        endpoint.chat()  # what only the first request of a new pod waits for is not measured
        for clients in levels:
            say([f"  {host}: {shape}, {clients} at once"])
            results.append(measure.load(endpoint, clients, args["requests"], args, str(time.time_ns())))
            if results[-1]["failures"] == results[-1]["requests"]:
                break
        return {"results": results}

    def _raw(self, deployment: Running, args: dict, host: str) -> dict:
        if deployment.engine != "llama_cpp":
            raise UserError(f"{host} runs on {deployment.engine}: llm_bench_raw is for llama.cpp, whose llama-bench it runs.")
        arguments = llama_bench.arguments(deployment.container["args"], args["prompt_tokens"], args["answer_tokens"])
        bench = llama_bench.job(deployment.live, args["raw_image"], arguments, args["timeout"])
        if self._task.check_mode:
            say(
                [
                    f"{host}: would stop the server, run a Job with {args['raw_image']} on its share of the GPU, bring the server back, "
                    f"and add a line to {args['history']}:",
                    f"  llama-bench {' '.join(arguments)}",
                ]
            )
            return {}
        say([f"{host}: does not serve until llama-bench is done. Should this run be killed, site.yml brings the server back."])
        with _interruptible():
            results = llama_bench.run(deployment.kube, deployment.live, bench, args["timeout"], Progress(host, args["timeout"]))
        return {"image": args["raw_image"], "args": arguments, "results": results}


@contextmanager
def _interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt, once, where Ansible's worker would end on the spot, so that what was begun can be undone."""
    numbers = (signal.SIGINT, signal.SIGTERM)  # Ansible sends the one, and soon after the other

    def interrupt(*_args) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    former = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, former, strict=True):
            signal.signal(number, handler)


def _rows(run: dict, last: dict | None) -> list[dict[str, str]]:
    by = "test" if run["kind"] == "raw" else "clients"
    former = {result[by]: result for result in last["results"]} if last else {}
    return [_row(result, former.get(result[by], {}), run["kind"]) for result in run["results"]]


def _row(result: dict, before: dict, kind: str) -> dict[str, str]:
    if kind == "raw":
        low, middle, high = (f"{result['speed'][key]:.1f}" for key in ("low", "middle", "high"))
        row = {"test": result["test"], "tokens/s": middle, "middle half": f"{low} to {high}"}
        return row | {"last": f"{before['speed']['middle']:.1f}" if before else "-"}
    row = {"clients": str(result["clients"]), "requests": str(result["requests"]), "failed": str(result["failures"])}
    if "speed" not in result:
        return row | dict.fromkeys(("first token p50", "p95", "tokens/s each", "all", "last"), "-")
    return row | {
        "first token p50": f"{result['first_token']['middle']:.2f} s",
        "p95": f"{result['first_token_p95']:.2f} s",
        "tokens/s each": f"{result['speed']['middle']:.1f}",
        "all": f"{result['tokens_per_second']:.1f}",
        "last": f"{before['tokens_per_second']:.1f}" if "speed" in before else "-",
    }


def _compared(run: dict, last: dict | None, worse: list[str], args: dict) -> list[str]:
    if not last:
        return [f"The first such run in {args['history']}."]
    changed = "; ".join(measure.differences(run, last)) or "nothing about the deployment changed"
    verdict = f"{len(worse)} regressions" if worse else f"no regression beyond {args['tolerance']:.0%} and the noise"
    return [f"Compared with {last['made']}: {verdict}; {changed}.", *(f"  slower: {text}" for text in worse)]
