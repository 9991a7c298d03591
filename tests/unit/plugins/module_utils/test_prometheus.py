# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import http.server
import json
import socket
import threading
from urllib.parse import parse_qs, urlsplit

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils.prometheus import Prometheus, PrometheusError, Sample


@pytest.fixture
def prometheus():
    """One that answers up{job="engines"} at a given time, and refuses all else."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked = parse_qs(urlsplit(self.path).query)
            if asked["query"] == ["broken"]:
                self._send(200, "<html>")
            elif asked["query"] != ['up{job="engines"}']:
                self._send(400, json.dumps({"status": "error", "error": "parse error"}))
            else:
                value = [float(asked.get("time", ["9"])[0]), "1"]
                self._send(200, json.dumps({"status": "success", "data": {"result": [{"metric": {"pod": "a"}, "value": value}]}}))

        def _send(self, status: int, text: str) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *args) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield Prometheus(lambda: socket.create_connection(server.server_address))
        server.shutdown()


def test_a_query_gives_samples(prometheus):
    assert prometheus.query('up{job="engines"}') == [Sample({"pod": "a"}, 1.0, 9.0)]
    assert prometheus.query('up{job="engines"}', at=5) == [Sample({"pod": "a"}, 1.0, 5.0)]


@pytest.mark.parametrize(("expression", "said"), [("up{", "HTTP 400: parse error"), ("broken", "HTTP 200: <html>")])
def test_a_refused_query_says_why(prometheus, expression, said):
    with pytest.raises(PrometheusError, match=said):
        prometheus.query(expression)


def test_no_connection_is_said():
    with pytest.raises(PrometheusError, match="did not answer: Connection refused"):
        Prometheus(_refuse).query("up")


def _refuse() -> socket.socket:
    raise ConnectionRefusedError("Connection refused")
