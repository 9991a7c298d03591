# SPDX-License-Identifier: GPL-3.0-or-later
"""Measuring against a small server, and telling a regression from noise."""

from __future__ import annotations

import copy
import http.server
import json
import socket
import threading
import time
import xml.etree.ElementTree

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils import chart, measure
from ansible_collections.selfhosted.llm.plugins.module_utils.errors import UserError
from ansible_collections.selfhosted.llm.plugins.module_utils.openai import Endpoint

SETTING = {"prompt_tokens": 20, "answer_tokens": 4}


class Handler(http.server.BaseHTTPRequestHandler):
    """Streams four tokens, 20 ms apart after 100 ms; has one slot; refuses prompts that it has seen, and each third one if so told."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = asked["messages"][0]["content"]
        with self.server.lock:
            self.server.prompts.append(prompt.split()[0])
            refused = self.server.refuse_thirds and len(self.server.prompts) % 3 == 0
        self.send_response(500 if refused or asked["max_tokens"] != 4 or not asked["ignore_eos"] else 200)
        self.end_headers()
        if not refused:
            with self.server.slot:
                time.sleep(0.1)
                for token in "abcd":
                    self.wfile.write(b'data: {"choices": [{"delta": {"content": "%s"}}]}\n\n' % token.encode())
                    time.sleep(0.02)
                self.wfile.write(b'data: {"choices": [], "usage": {"completion_tokens": 4, "prompt_tokens": 21}}\n\n')

    def log_message(self, *_args):
        pass


@pytest.fixture
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.lock, server.slot, server.prompts, server.refuse_thirds = threading.Lock(), threading.Lock(), [], False
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def endpoint(server) -> Endpoint:
    return Endpoint(lambda: socket.create_connection(server.server_address), "alice-chat", None)


def test_one_client_is_measured(endpoint, server):
    result = measure.load(endpoint, 1, 3, SETTING, "now")
    assert (result["clients"], result["requests"], result["failures"], result["prompt_tokens"]) == (1, 3, 0, 21)
    assert 0.1 <= result["first_token"]["low"] <= result["first_token"]["middle"] <= result["first_token_p95"]
    assert 4 / result["first_token"]["low"] < result["speed"]["high"] <= 3 / 0.06  # not of the time before the first token
    assert result["tokens_per_second"] == pytest.approx(12 / result["seconds"], rel=0.01)
    assert len(set(server.prompts)) == 3  # no engine has seen their beginning


def test_clients_wait_for_one_another_where_the_engine_has_one_slot(endpoint):
    result = measure.load(endpoint, 3, 1, SETTING, "now")
    assert result["first_token"]["high"] > result["first_token"]["low"] + 0.1
    assert result["seconds"] > 3 * 0.18


def test_failures_are_counted_and_the_rest_is_measured(endpoint, server):
    server.refuse_thirds = True
    result = measure.load(endpoint, 2, 3, SETTING, "now")
    assert (result["requests"], result["failures"]) == (6, 2)
    assert "HTTP 500" in result["failure"] and result["speed"]["middle"] > 0
    endpoint.connect = lambda: (_ for _ in ()).throw(UserError("The pod is gone."))
    assert measure.load(endpoint, 1, 2, SETTING, "now") == {
        "clients": 1, "requests": 2, "failures": 2, "failure": "The pod is gone."
    }  # fmt: skip


@pytest.mark.parametrize(("most", "levels"), [(1, [1]), (2, [1, 2]), (4, [1, 2, 4]), (6, [1, 2, 4, 6]), (7, [1, 2, 4, 7])])
def test_levels_double_up_to_the_slots(most, levels):
    assert measure.levels(most) == levels


def test_the_middle_half_and_percentiles():
    assert measure.spread([1, 2, 3, 4, 100]) == {"low": 2, "middle": 3, "high": 4}
    assert measure.spread([7]) == {"low": 7, "middle": 7, "high": 7}
    assert measure.at_most(list(range(1, 101)), 0.95) == 95
    assert measure.at_most([5, 1], 0.95) == 5


def level(clients: int, speed: float, first_token: float, spread: float = 0.02) -> dict:
    def around(value: float) -> dict:
        return {"low": value * (1 - spread), "middle": value, "high": value * (1 + spread)}

    return {
        **{"clients": clients, "requests": 4 * clients, "failures": 0, "failure": None, "seconds": 1.0, "prompt_tokens": 512},
        **{"tokens_per_second": speed * clients, "first_token": around(first_token), "first_token_p95": first_token * 1.5},
        "speed": around(speed),
    }


RUN = {
    **{"made": "2026-11-28T10:00:00Z", "kind": "load", "deployment": "alice-chat", "model": "org/<chat>", "commit": "1ae5b19"},
    **{"engine": "llama_cpp", "image": "llama:1", "args": ["--ctx-size", "4096"], "env": {}, "share": "1/2 card"},
    **{"setting": SETTING, "results": [level(1, 40, 0.2), level(2, 38, 0.3)]},
}


def changed(**changes) -> dict:
    return copy.deepcopy(RUN) | changes


def test_a_regression_is_more_than_tolerance_and_noise():
    def found(*results: dict, tolerance: float = 0.1) -> list[str]:
        return measure.regressions(changed(results=list(results)), [RUN], tolerance)

    assert found(level(1, 40, 0.2), level(2, 38, 0.3)) == []
    assert found(level(1, 80, 0.1), level(4, 10, 3)) == []  # faster; and what was not measured before
    assert found(level(1, 37, 0.2)) == []  # within the tolerance
    assert found(level(1, 30, 0.2, spread=0.4)) == []  # single requests differ by more than that
    assert found(level(1, 30, 0.2)) == ["speed of one answer with 1 client: 30 tokens/s, was 40 (-25%)"]
    assert found(level(2, 38, 0.4)) == ["time to first token with 2 clients: 0.4 s, was 0.3 (+33%)"]
    assert found(level(1, 30, 0.2), tolerance=0.3) == []


def test_what_recent_runs_reached_too_is_noise():
    now, slow = changed(results=[level(1, 30, 0.2)]), changed(results=[level(1, 31, 0.2)])
    assert measure.regressions(now, [RUN] * 5, 0.1)
    assert measure.regressions(now, [slow, *[RUN] * 4], 0.1) == []
    assert measure.regressions(now, [slow, *[RUN] * 5], 0.1)  # long ago
    assert measure.regressions(now, [RUN, slow], 0.1) == []  # compared with the last
    assert measure.regressions(now, [], 0.1) == []


def test_raw_runs_are_judged_by_the_same_rule():
    before = changed(kind="raw", results=[{"test": "pp512", "speed": {"low": 990, "middle": 1000, "high": 1010}}])
    now = changed(kind="raw", results=[{"test": "pp512", "speed": {"low": 790, "middle": 800, "high": 810}}])
    assert measure.regressions(now, [before], 0.1) == ["speed of pp512: 800 tokens/s, was 1000 (-20%)"]
    assert measure.regressions(before, [now], 0.1) == []


def test_runs_are_alike_that_asked_the_same_and_were_answered():
    failed = changed(results=[{"clients": 1, "requests": 4, "failures": 4, "failure": "no"}])
    others = [changed(deployment="alice-other"), changed(kind="raw", results=[]), changed(setting={"prompt_tokens": 1}), failed]
    assert measure.like(others, RUN) == []
    assert [run["made"] for run in measure.like([changed(made="first"), changed(made="second"), *others], RUN)] == ["first", "second"]


def test_what_else_changed_is_said():
    assert measure.differences(RUN, RUN) == []
    now = changed(image="llama:2", args=["--ctx-size", "8192"])
    assert measure.differences(now, RUN) == ["image was llama:1", "args had 4096 in place of 8192"]


def test_the_history_keeps_runs_in_order(tmp_path):
    path = str(tmp_path / "new" / "alice-chat.jsonl")
    assert measure.history(path) == []
    measure.remember(path, RUN)
    measure.remember(path, changed(made="later"))
    assert [run["made"] for run in measure.history(path)] == [RUN["made"], "later"]


@pytest.mark.parametrize("line", ["", "no", "[]", '{"made": "today"}'])
def test_a_damaged_history_is_a_sentence(tmp_path, line):
    path = tmp_path / "alice-chat.jsonl"
    path.write_text(json.dumps(RUN) + "\n" + line + "\n")
    with pytest.raises(UserError, match=r"Line 2 of the history .*alice-chat.jsonl \(llm_bench_history\) is no run: remove it"):
        measure.history(str(path))


def test_a_history_that_is_no_file_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match="cannot be read: .*directory"):
        measure.history(str(tmp_path))
    with pytest.raises(UserError, match="cannot be written: Is a directory"):
        measure.remember(str(tmp_path), RUN)


def test_similar_texts():
    assert measure.similarity("a b c", "a b c") == 1
    assert measure.similarity("a b c d", "a b x d") == 0.75
    assert measure.similarity("a", "b") == 0


def test_the_chart_shows_both_runs():
    """Points of both runs, at the height of their values; text of the hub's does no harm."""
    last = changed(made="2026-11-27T10:00:00Z", results=[level(1, 20, 0.2), {"clients": 2, "requests": 4, "failures": 4}])
    root = xml.etree.ElementTree.fromstring(chart.svg(RUN, last))
    space = "{http://www.w3.org/2000/svg}"
    speed, first = root.iter(f"{space}g")
    heights = {}
    for circle in speed.iter(f"{space}circle"):
        heights[(circle.get("class"), circle.find(f"{space}title").text)] = float(circle.get("cy"))
    assert set(heights) == {("dot ", "40 with 1"), ("dot ", "76 with 2"), ("dot last", "20 with 1")}
    ground = chart.BOTTOM
    assert (ground - heights[("dot ", "40 with 1")]) / (ground - heights[("dot last", "20 with 1")]) == pytest.approx(2, rel=0.01)
    assert len(list(first.iter(f"{space}circle"))) == 3
    assert any("org/<chat> on llama.cpp" in (text.text or "") for text in root.iter(f"{space}text"))
    assert "dashed" not in chart.svg(RUN, None) and "dashed: 2026-11-27 10:00 UTC" in chart.svg(RUN, last)


@pytest.mark.parametrize("most", [0.004, 0.3, 1, 4.9, 50, 99.9, 1234])
def test_an_axis_has_room_and_few_marks(most):
    top, step = chart._scale(most)
    assert most < top <= 1.6 * most and 3 <= round(top / step) <= 6
