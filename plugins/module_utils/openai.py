# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Talk to the HTTP API that all engines have in common (OpenAI's), and time its answers."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections.abc import Callable
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
    """The endpoint answered wrongly or not at all, as a part of a sentence that begins with the endpoint.

    Attributes:
        status: HTTP status, or None where no answer came.
    """

    def __init__(self, message: str, status: int | None = None):
        super().__init__(message)
        self.status = status


class Endpoint:
    """The API of one deployment.

    Args:
        connect: opens a connection to it.
        model: the model's name in the API.
        key: the API key; None where there is none.
    """

    def __init__(self, connect: Callable[[], socket.socket], model: str, key: str | None):
        self.connect = connect
        self.model = model
        self.key = key

    def request(self, method: str, path: str, body: dict | None = None, timeout: float = 60) -> bytes:
        """Send one request over a connection of its own and return the whole answer.

        Raises:
            EndpointError: no answer, or an error status.
        """
        connection = self.connect()
        client = http.client.HTTPConnection("pod", timeout=timeout)
        client.sock = connection
        connection.settimeout(timeout)
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        try:
            client.request(method, path, None if body is None else json.dumps(body), headers)
            response = client.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise EndpointError(f"it did not answer {path}: {error or type(error).__name__}") from None
        finally:
            client.close()
        if response.status != 200:
            said = text[:200].decode(errors="replace")
            raise EndpointError(f"it answered {path} with HTTP {response.status}: {said}", response.status)
        return text

    def chat(self, question: str = QUESTION, max_tokens: int = MAX_TOKENS) -> Answer:
        """Ask for a short chat completion.

        Raises:
            EndpointError: no answer, an error status, another model, or an empty completion.
        """
        body = {"model": self.model, "messages": [{"role": "user", "content": question}], "max_tokens": max_tokens}
        start = time.monotonic()
        text = self.request("POST", "/v1/chat/completions", body)
        seconds = time.monotonic() - start
        try:
            answer = json.loads(text)
            content, tokens = answer["choices"][0]["message"]["content"], answer["usage"]["completion_tokens"]
        except (ValueError, KeyError, IndexError, TypeError):
            raise EndpointError(f"its answer is not a chat completion: {text[:200].decode(errors='replace')}") from None
        if answer.get("model", self.model) != self.model:
            raise EndpointError(f"it serves {answer['model']!r}, not {self.model!r}")
        if not content or not tokens:
            raise EndpointError("its completion is empty")
        return Answer(content, seconds, tokens / seconds)

    def models(self) -> list[str]:
        """Names under which models are served."""
        return [entry["id"] for entry in json.loads(self.request("GET", "/v1/models"))["data"]]

    def metrics(self) -> set[str]:
        """Names of the metrics."""
        lines = self.request("GET", "/metrics").decode().splitlines()
        return {re.split(r"[{ ]", line)[0] for line in lines if line and not line.startswith("#")}
