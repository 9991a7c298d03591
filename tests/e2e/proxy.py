# SPDX-License-Identifier: GPL-3.0-or-later
"""A proxy in front of the API server: counts real writes, and can kill the client after one of them took effect.

Stands between an engineer's kubeconfig and the real API server, with the engineer's own certificate. It does not pass on
upgraded connections (port-forward), so what needs these must not go through it.
"""

from __future__ import annotations

import threading
import urllib.parse
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml


class Proxy:
    """Serves plain HTTP on 127.0.0.1 while used as a context.

    Args:
        kubeconfig: the engineer's kubeconfig.
        directory: where a kubeconfig that names the proxy is written.

    Attributes:
        writes: method and path of each write that took effect.
        after: called after each of them, before the client gets its answer.
    """

    def __init__(self, kubeconfig: Path, directory: Path):
        from ansible_collections.selfhosted.llm.plugins.module_utils.kube.client import Kube

        self.writes: list[str] = []
        self.after: Callable[[], None] = lambda: None
        self._kube = Kube(str(kubeconfig))
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                proxy._pass_on(self)

            do_GET = do_PATCH = do_POST = do_PUT = do_DELETE = handle_any

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.kubeconfig = directory / "proxied.yml"
        server = f"http://127.0.0.1:{self._server.server_port}"
        self.kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "current-context": "proxy",
                    "clusters": [{"name": "proxy", "cluster": {"server": server}}],
                    "contexts": [{"name": "proxy", "context": {"cluster": "proxy"}}],
                }
            )
        )

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_exception) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _pass_on(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length", 0))
        body = handler.rfile.read(length) if length else None
        connection = self._kube._connect(30)
        headers = {name: value for name, value in handler.headers.items() if name.lower() not in ("host", "connection")}
        connection.request(handler.command, handler.path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(handler.path).query)
        if handler.command != "GET" and "dryRun" not in query and answer.status < 300:
            with self._lock:
                self.writes.append(f"{handler.command} {urllib.parse.urlsplit(handler.path).path}")
                self.after()
        try:
            handler.send_response(answer.status)
            handler.send_header("Content-Type", answer.headers.get("Content-Type", "application/json"))
            handler.send_header("Content-Length", str(len(text)))
            handler.end_headers()
            handler.wfile.write(text)
        except OSError:
            pass  # the client was killed
