# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a transport itself. What both do is in tests/contract."""

from __future__ import annotations

import sys

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.credentials import Credentials
from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.errors import ExoscaleError, Refusal
from ansible_collections.selfhosted.llm.plugins.module_utils.exoscale.transports import find_transport, message

CREDENTIALS = Credentials("EXOkey", "the-secret", "api_key and api_secret")


def test_neither_exo_nor_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "exoscale.api.v2", None)
    with pytest.raises(ExoscaleError) as error:
        find_transport(None, "http://127.0.0.1:1/v2", CREDENTIALS)
    assert f"{sys.executable} -m pip install exoscale" in str(error.value) and "exo on PATH" in str(error.value)


@pytest.mark.parametrize(
    ("script", "raised", "said"),
    [
        ("echo Usage: exo", ExoscaleError, "does not know the operation list-zones: install a newer version"),
        ("echo error: the exo CLI must be configured >&2; exit 1", ExoscaleError, "says: error: the exo CLI must be configured"),
        ("echo panic: runtime error >&2; exit 2", ExoscaleError, "says: panic: runtime error"),
        ("printf 'FATAL x.gen.go:1 Error calling operation\\nRequest failed: EOF\\n' >&2; exit 1", Refusal, "Request failed: EOF"),
        ("printf 'FATAL Error calling operation\\nHTTP 404: {\"message\": \"gone\"}\\n' >&2; exit 1", Refusal, "gone"),
    ],
)
def test_an_exo_that_will_not_do(tmp_path, script, raised, said):
    program = tmp_path / "exo"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    with pytest.raises(raised) as error:
        find_transport(str(program), "http://127.0.0.1:1/v2", CREDENTIALS).send("list-zones", {}, None)
    assert said in str(error.value) and "the-secret" not in str(error.value)


def test_an_exo_that_cannot_be_run(tmp_path):
    program = tmp_path / "exo"
    program.write_bytes(b"\0")
    program.chmod(0o755)
    with pytest.raises(ExoscaleError, match="cannot be run"):
        find_transport(str(program), "http://127.0.0.1:1/v2", CREDENTIALS).send("list-zones", {}, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"message": "no"}', "no"),
        ('{"title": "Bad", "detail": "the size"}', "the size"),
        ('{"other": 1}', "{'other': 1}"),
        ("<html>\n gone </html>", "<html> gone </html>"),
        ('"text"', '"text"'),
        ("", ""),
    ],
)
def test_what_an_error_answer_says(text, said):
    assert message(text) == said
