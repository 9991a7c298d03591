# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ask an OpenAI-compatible endpoint one short question and time it."""

from __future__ import annotations

import http.client
import json
import socket
import time
from typing import NamedTuple

from .errors import UserError

QUESTION = "Say hello in one short sentence."
MAX_TOKENS = 24


class Answer(NamedTuple):
    """What an endpoint answered.

    Attributes:
        text: the completion.
        seconds: from sending the question to the whole answer.
        tokens_per_second: completion tokens by those seconds, so the prompt's share is in it.
    """

    text: str
    seconds: float
    tokens_per_second: float


class EndpointError(UserError):
    """The endpoint answered wrongly or not at all, as a sentence."""


def ask(connection: socket.socket, model: str, key: str | None, timeout: float = 60) -> Answer:
    """Ask for a short chat completion over an open socket.

    Raises:
        EndpointError: no answer, an error status, another model, or an empty completion.
    """
    body = {"model": model, "messages": [{"role": "user", "content": QUESTION}], "max_tokens": MAX_TOKENS}
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    client = http.client.HTTPConnection("pod", timeout=timeout)
    client.sock = connection
    connection.settimeout(timeout)
    start = time.monotonic()
    try:
        client.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        response = client.getresponse()
        text = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise EndpointError(f"it did not answer a chat completion: {error or type(error).__name__}") from None
    finally:
        client.close()
    seconds = time.monotonic() - start
    if response.status != 200:
        raise EndpointError(f"it answered a chat completion with HTTP {response.status}: {text[:200].decode(errors='replace')}")
    try:
        answer = json.loads(text)
        content, tokens = answer["choices"][0]["message"]["content"], answer["usage"]["completion_tokens"]
    except (ValueError, KeyError, IndexError, TypeError):
        raise EndpointError(f"its answer is not a chat completion: {text[:200].decode(errors='replace')}") from None
    if answer.get("model", model) != model:
        raise EndpointError(f"it serves {answer['model']!r}, not {model!r}")
    if not content or not tokens:
        raise EndpointError("its completion is empty")
    return Answer(content, seconds, tokens / seconds)
