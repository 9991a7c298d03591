# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from html.parser import HTMLParser

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils import report
from ansible_collections.selfhosted.llm.plugins.plugin_utils.table import table
from tests.browser.sample import HOSTILE, PLAN, deployment, engineer, gpu


class Page(HTMLParser):
    """What a page is made of.

    Attributes:
        tags: each element's name and attributes.
        unclosed: elements that do not end, or not where they should.
    """

    EMPTY = ("meta", "line")

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.unclosed: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.unclosed += self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if self._open.pop() != tag:
            self.unclosed.append(tag)


def plan(*deployments: dict, **other) -> dict:
    """A plan of one engineer."""
    return PLAN | {"engineers": [engineer("alice", *deployments)], "cards": []} | other


@pytest.fixture(scope="module")
def page():
    return report.page(PLAN)


def test_every_element_ends_and_every_name_is_unique(page):
    found = Page(page)
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert found.unclosed == [] and len(ids) == len(set(ids))
    wanted = {attributes[key].lstrip("#") for _, attributes in found.tags for key in ("href", "aria-labelledby") if key in attributes}
    assert wanted and wanted <= set(ids)


def test_it_needs_nothing_else_and_runs_nothing(page):
    tags = Page(page).tags
    assert not {tag for tag, _ in tags} & {"script", "link", "img", "iframe", "object", "form", "base"}
    for _, attributes in tags:
        assert "style" not in attributes and "src" not in attributes and attributes.get("href", "#").startswith("#")
        assert not [name for name in attributes if name.startswith("on")]
    style = re.search("<style>(.*?)</style>", page, re.DOTALL)[1]
    assert "http" not in style and "@import" not in style and set(re.findall(r"url\((.*?)\)", style)) == {"#stripes"}


def test_the_policy_allows_this_style_and_nothing_else(page):
    style = re.search("<style>(.*?)</style>", page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = next(attributes["content"] for tag, attributes in Page(page).tags if attributes.get("http-equiv"))
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_a_hostile_text_is_text_wherever_it_stands():
    def page_of(text):
        """The elements and their attributes' names in the plan's page with this text everywhere."""
        def filled(value):
            if isinstance(value, dict):
                return {key: value if key in ("made", "verdict") else filled(value) for key, value in value.items()}
            return [filled(item) for item in value] if isinstance(value, list) else text if isinstance(value, str) else value

        return [(tag, sorted(attributes)) for tag, attributes in Page(report.page(filled(PLAN))).tags]

    assert page_of(HOSTILE) == page_of("harmless")


def test_characters_that_steer_or_fit_in_no_file_are_replaced(page):
    text = "\n".join([html.unescape(page), *table(report.rows(PLAN)), *report.notes(PLAN)])
    text.encode()
    assert "\u202e" not in text and "\x1b" not in text and "&amp;\ufffd\ufffd[31m\ufffd" in text


def test_a_line_break_in_a_name_breaks_no_line():
    rows = report.rows(plan(deployment("alice\nchat", "fits", [])))
    assert rows[0]["deployment"] == "alice chat"


def test_the_bar_of_what_fits_is_scaled_to_what_is_free():
    text = report.page(plan(deployment("alice-chat", "fits", [gpu(2000, 500, 200, 100, 100, 100)])))
    bars = re.findall(r'<rect class="(\w+)" x="([\d.]+)%" width="([\d.]+)%"', text)
    assert bars == [("weights", "0.0", "25.0"), ("kv", "25.0", "10.0"), ("compute", "35.0", "5.0"), ("context", "40.0", "5.0"),
                    ("margin", "45.0", "5.0")]
    assert 'aria-label="1,000 of 2,000 MiB: weights 500, KV cache 200, compute 100, CUDA context 100, margin 100"' in text
    assert "1,000 left" in text


def test_the_bar_of_what_does_not_fit_is_scaled_to_what_it_takes():
    text = report.page(plan(deployment("alice-chat", "no", [gpu(2000, 3500, 200, 100, 100, 100)])))
    assert '<rect class="over" x="50.0%" width="50.0%"' in text and "2,000 over" in text


def test_gpus_that_take_the_same_are_told_once():
    gpus = [gpu(2000, 1, 1, 1, 1, 1)] * 2 + [gpu(2000, 2, 1, 1, 1, 1)]
    told = re.compile(r"<span>(GPU .*?): <b>")
    assert told.findall(report.page(plan(deployment("alice-chat", "fits", gpus)))) == ["GPU 0 to 1, each", "GPU 2"]
    assert told.findall(report.page(plan(deployment("alice-chat", "fits", gpus[:1])))) == []


def test_a_slot_shows_who_is_in_it():
    taken = [{"deployment": "alice-chat", "mib": 250, "slot": 1}]
    text = report.page(plan(cards=[{"pool": "llm", "node": "n", "card": 0, "usable_mib": 2000, "slots": 2, "taken": taken}]))
    assert 'aria-label="slot 0: 0 of 1,000 MiB taken"' in text and '<rect class="taken" width="25.0%"' in text


def test_without_prices_none_are_shown():
    unpriced = deployment("alice-chat", "fits", [], eur_per_hour=None, eur_per_month=None)
    mine = plan(prices=False, engineers=[{"name": "alice", "eur_per_hour": None, "eur_per_month": None, "deployments": [unpriced]}])
    assert "EUR" not in report.page(mine) and "EUR" not in report.notes(mine)[-1]
    assert report.rows(mine)[0]["EUR/h"] == "-"


def test_a_plan_of_nothing():
    nothing = plan()
    assert "<h1>" in report.page(nothing) and report.rows(nothing) == [] and report.notes(nothing)[-1].startswith("0 deployments")


def test_the_totals():
    total = report.totals(PLAN)
    assert total.verdicts == {"fits": 3, "tight": 2, "no": 2, "unknown": 1} and total.deployments == 8
    assert total.changed == 4 and total.download_bytes == 19851336576 + 141107412992
    assert total.eur_per_hour == pytest.approx(5 * 0.5227 + 2.0907 + 4.1813)


def test_the_rows_say_the_memory_of_the_fullest_gpu():
    memory = {row["deployment"]: row["memory"] for row in report.rows(PLAN)}
    assert memory["alice-chat"] == "6.9 of 22.2 GiB"
    assert memory["alice-llama"] == "71.6 of 44.3 GiB on each of 2"
    assert memory["bob-experts"] == "42.1 of 44.3 GiB on the fullest of 4"
    assert memory["bob-new"] == "-"


def test_the_notes_say_what_to_do_about_what_does_not_simply_fit():
    notes = report.notes(PLAN)
    assert notes[0].startswith("alice-code (tight): 22074 of 22702 MiB") and notes[1] == "  context: llm_context: 6144 (fits)"
    assert not [note for note in notes if "alice-chat" in note]
    assert notes[-1] == "8 deployments: 3 fit, 2 tight, 2 do not fit, 1 unknown; 8.89 EUR an hour, 6,486 EUR a month"


def test_a_plan_is_what_json_can_hold():
    assert report.page(json.loads(json.dumps(PLAN))) == report.page(PLAN)
