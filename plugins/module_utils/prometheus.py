# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ask a Prometheus, or the proxy that shows an engineer their own part of one."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlencode

from .errors import UserError

NAMESPACE = "monitoring"
PORT = 9090


class Sample(NamedTuple):
    """One value of a series.

    Attributes:
        labels: of the series.
        value: the number.
        time: Unix time at which the query was evaluated, in seconds.
    """

    labels: dict[str, str]
    value: float
    time: float


class PrometheusError(UserError):
    """It did not answer, or refused the query, as a part of a sentence that begins with Prometheus."""


class Prometheus:
    """One Prometheus; each query has a connection of its own.

    Args:
        connect: opens a connection to it.
        timeout: seconds for which it may be silent.
    """

    def __init__(self, connect: Callable[[], socket.socket], timeout: float = 30):
        self.connect = connect
        self.timeout = timeout

    def query(self, expression: str, at: float | None = None) -> list[Sample]:
        """The values of a PromQL expression at one time (Unix time in seconds; now where not given).

        Raises:
            PrometheusError: no answer, or the query is refused.
        """
        found = self._get("/api/v1/query", {"query": expression} | ({} if at is None else {"time": at}))
        return [Sample(entry["metric"], float(entry["value"][1]), float(entry["value"][0])) for entry in found]

    def _get(self, path: str, query: dict) -> list[dict]:
        client = http.client.HTTPConnection("prometheus", timeout=self.timeout)
        try:
            client.sock = self.connect()
            client.sock.settimeout(self.timeout)
            client.request("GET", f"{path}?{urlencode(query)}")
            response = client.getresponse()
            said = response.read().decode(errors="replace")
            answer = json.loads(said) if said.startswith("{") else {"error": said.strip()}
            if answer.get("status") != "success":
                raise PrometheusError(f"it answered with HTTP {response.status}: {answer.get('error', said)[:200]}")
            return answer["data"]["result"]
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise PrometheusError(f"it did not answer: {error or type(error).__name__}") from None
        finally:
            client.close()
