# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan's page in a real browser. Screenshots lie in pytest's temporary directory, which --basetemp names."""

from __future__ import annotations

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils import report
from tests.browser.sample import HOSTILE, PLAN

WIDTHS = {360: 800, 1280: 900}

# Elements whose own text is wider than they are, or that reach out of the page.
CUT_OFF = """[...document.body.querySelectorAll('*')].filter(element =>
    !element.closest('svg') && element.getClientRects().length
    && (getComputedStyle(element).display != 'inline' && element.scrollWidth > element.clientWidth + 1
        || element.getBoundingClientRect().right > innerWidth)
).map(element => element.outerHTML.slice(0, 200))"""

# For each element with text of its own: the least contrast (WCAG 2) of its colour with the background that it stands on.
CONTRASTS = """(() => {
    const channels = text => text.match(/[\\d.]+/g).map(Number);
    const luminance = ([red, green, blue]) => [red, green, blue].map(value => value / 255)
        .map(value => value <= .03928 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4)
        .reduce((sum, value, index) => sum + value * [.2126, .7152, .0722][index], 0);
    const background = element => {
        const color = channels(getComputedStyle(element).backgroundColor);
        return color.length == 4 && color[3] == 0 ? background(element.parentElement) : color;
    };
    return [...document.body.querySelectorAll('*')].filter(element => !element.closest('svg')
        && [...element.childNodes].some(node => node.nodeType == Node.TEXT_NODE && node.data.trim())
    ).map(element => {
        const both = [channels(getComputedStyle(element).color), background(element)].map(luminance).sort((a, b) => b - a);
        return [(both[0] + .05) / (both[1] + .05), element.className + ': ' + element.textContent.trim().slice(0, 40)];
    });
})()"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where the page lies."""
    file = tmp_path_factory.mktemp("page") / "plan.html"
    file.write_text(report.page(PLAN), encoding="utf-8")
    return file.as_uri()


@pytest.fixture(params=[(width, scheme) for width in WIDTHS for scheme in ("light", "dark")], ids=lambda param: f"{param[0]}-{param[1]}")
def view(request, tab, address):
    """The page, opened at a width and in a colour scheme; returns both."""
    width, scheme = request.param
    tab.call("Emulation.setDeviceMetricsOverride", width=width, height=WIDTHS[width], deviceScaleFactor=1, mobile=width < 500)
    tab.call("Emulation.setEmulatedMedia", media="screen", features=[{"name": "prefers-color-scheme", "value": scheme}])
    tab.open(address)
    return width, scheme


def test_it_loads_nothing_and_the_console_stays_empty(tab, view, address):
    told = ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded", "Audits.issueAdded", "Network.loadingFailed")
    assert [event for event in tab.events if event["method"] in told] == []
    requests = [event["params"]["request"]["url"] for event in tab.events if event["method"] == "Network.requestWillBeSent"]
    assert requests == [address]


def test_it_fits_its_width_and_nothing_is_cut_off(tab, view):
    width, _ = view
    tab.evaluate("document.querySelectorAll('details').forEach(element => element.open = true)")
    assert tab.evaluate("[innerWidth, document.scrollingElement.scrollWidth]") == [width, width]
    assert tab.evaluate(CUT_OFF) == []


def test_all_verdicts_are_seen(tab, view):
    badges = "[...document.querySelectorAll('tbody th .badge')].filter(element => element.checkVisibility())"
    seen = tab.evaluate(f"{badges}.map(element => element.innerText)")
    assert set(seen) == {one for one, _ in report.VERDICTS.values()} and len(seen) == 8


def test_text_stands_out(tab, view):
    contrasts = tab.evaluate(CONTRASTS)
    assert len(contrasts) > 100 and [text for text in contrasts if text[0] < 4.5] == []


def test_a_hostile_text_is_only_text(tab, view):
    shown = HOSTILE.replace("\u202e", "\ufffd").replace("\x1b", "\ufffd").replace("\ud800", "\ufffd")
    assert shown in tab.evaluate("[...document.querySelectorAll('.name')].map(element => element.textContent)")
    assert tab.evaluate("[document.querySelectorAll('script, img, [onerror]').length, typeof hit]") == [0, "undefined"]


def test_the_policy_stops_what_would_get_in(tab, view):
    tab.evaluate("document.body.insertAdjacentHTML('beforeend', '<p id=planted onclick=\"window.hit=1\" style=\"color: red\">')")
    tab.evaluate("planted.click()")
    assert tab.evaluate("[typeof hit, getComputedStyle(planted).color == getComputedStyle(document.body).color]") == ["undefined", True]


def test_each_scheme_has_its_look(tab, view, tmp_path):
    width, scheme = view
    tab.screenshot(tmp_path / f"plan-{width}-{scheme}.png")
    red, green, blue = tab.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert min(red, green, blue) > 200 if scheme == "light" else max(red, green, blue) < 60
