# SPDX-License-Identifier: GPL-3.0-or-later
"""Stand-in for Exoscale's API v2: SKS for one organisation; no other products, no billing, no events, no real machines.

Routes, parameters, requests and answers are checked against the OpenAPI document that PyPI `exoscale` ships (an answer
of the stand-in that breaks it is an HTTP 500 and is kept in `broken`). What the document does not tell, the texts of
refusals above all, is the stand-in's own. Every request but that for the zones must be signed (EXO2-HMAC-SHA256) with
the key EXOsandbox and the secret secret-of-the-sandbox. /v2 is the zone de-fra-1; each zone has its own address, in the
list of zones, with objects of its own.

    python tests/sandbox/exoscale_api.py --listen 127.0.0.1:8801 --state FILE.json --cluster DIR [--seconds 0.5]

The first SKS cluster that is created is the kind cluster that DIR describes (see cluster.py): it has that server, gives
out client certificates of that authority, and its pools take and release that cluster's workers. All other SKS clusters
have no nodes. An instance gets the first worker that is free, and its name; the node gets the pool's labels and taints
of that moment and the GPUs of its type, and loses all that and its pods when the instance goes. Where a pool asks for
more nodes than there are workers, the operation succeeds, and the others wait for a worker, as in a zone without
capacity; two pools that shrink and grow hand workers over. Operations take `seconds`; state and what goes on survive a
restart. Differing from the real API: a cluster's upgrade leaves Kubernetes as it is, and add-ons, OIDC, audit,
networks and security groups are remembered only.

For tests, next to the API's own routes:
    GET /sandbox/calls      {"list-zones": 1, ...}: how often each operation was asked for
    DELETE /sandbox/calls   counts from zero
    POST /sandbox/faults    one fault or a list; DELETE /sandbox/faults removes all. A fault is an object:
        operation  which requests: a shell pattern on the operation's name ("*-sks-nodepool"), by default every one
        times      how often it strikes, by default always
        status     answer this HTTP status instead, with `message`; nothing is done
        delay      seconds before anything is done
        drop       close the connection instead of an answer: "before" or "after" what was asked for is done
        ends       how the operation ends that a write starts: "failure", "timeout" or "never", which lasts until all
                   faults are removed (from within a test: `heal`). It has `reason` and `message`, where given; its
                   effect is undone, except that a new object stays, in the state "error". With `at_once` true the
                   first answer says it, and nothing is done. Leaves GET requests alone
        set        fields of a good answer to replace: {"sks-clusters.state": "unheard-of"}, in all elements of lists
        remove     fields of a good answer to leave out: ["sks-clusters.nodepools"]
        quota      limits that hold as long as the fault strikes: {"gpu3": 0}
"""
from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import socket
import sys
import threading
import time
import traceback
from collections import Counter
from fnmatch import fnmatchcase
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from sks import catalogue, nodes
from sks.contract import Contract
from sks.organisation import Organisation, Refusal, Request

contract = cache(Contract)


class Exoscale(ThreadingHTTPServer):
    """The server; tests start it in their own process and read `calls`, `faults` and `broken` directly.

    Args:
        address: where it listens.
        state: file of its state, by default nowhere.
        folder: description of the kind cluster, by default there is none.
        seconds: how long operations take.
    """

    daemon_threads = True

    def __init__(self, address: tuple[str, int], state: Path | None = None, folder: Path | None = None,
                 seconds: float = 0.5):
        super().__init__(address, Handler)
        self.organisation = Organisation(state, seconds, folder)
        self.lock = threading.Lock()
        self.calls: Counter[str] = Counter()
        self.faults: list[dict] = []
        self.broken: list[str] = []
        if folder:
            nodes.Nodes(self.organisation, folder).start()

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client that was killed
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        """Address of the API, in the default zone."""
        return f"{self._root()}/v2"

    def zones(self) -> dict:
        """The zones, each with its address."""
        return {"zones": [{"name": zone, "api-endpoint": f"{self._root()}/{zone}/v2",
                           "sos-endpoint": f"https://sos-{zone}.exo.io"} for zone in catalogue.ZONES]}

    def strike(self, operation: str, method: str) -> dict:
        """Count a request, and return all faults that strike it now, as one."""
        struck: dict = {}
        with self.lock:
            self.calls[operation] += 1
            for fault in self.faults:
                if method == "GET" and "ends" in fault:
                    continue
                if fnmatchcase(operation, fault.get("operation", "*")) and fault.get("times", 1) > 0:
                    struck |= fault
                    if "times" in fault:
                        fault["times"] -= 1
        return struck

    def heal(self) -> None:
        """Remove all faults; operations that would never have ended do."""
        self.faults.clear()
        self.organisation.release()

    def _root(self) -> str:
        return "http://{}:{}".format(*self.server_address)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Exoscale

    def do_GET(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        url = urlsplit(self.path)
        try:
            if url.path.startswith("/sandbox/"):
                self._json(self._sandbox(url.path))
            else:
                self._json(self._answer(url.path, parse_qs(url.query)))
        except Refusal as refusal:
            self._json({"message": refusal.message}, refusal.status)
        except Dropped:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        except Exception as error:  # a bug of the stand-in, which shall show
            traceback.print_exc()
            self._broken(f"The sandbox failed at {self.command} {url.path}: {error!r}")

    do_POST = do_PUT = do_DELETE = do_GET

    def _sandbox(self, path: str) -> dict | list:
        match self.command, path:
            case "GET", "/sandbox/calls":
                return dict(self.server.calls)
            case "DELETE", "/sandbox/calls":
                self.server.calls.clear()
                return {}
            case "POST", "/sandbox/faults":
                given = json.loads(self.body)
                self.server.faults += given if isinstance(given, list) else [given]
                return self.server.faults
            case "DELETE", "/sandbox/faults":
                self.server.heal()
                return []
        raise Refusal(404, "Sandbox: no such route")

    def _answer(self, path: str, query: dict[str, list[str]]) -> Any:
        """The answer to a request to the API."""
        before, _, below = path.partition("/v2/")
        zone = before.strip("/") or catalogue.DEFAULT_ZONE
        found = contract().find(self.command, f"/{below}") if zone in catalogue.ZONES else None
        fault = self.server.strike(found[0].name if found else "unknown", self.command)
        time.sleep(fault.get("delay", 0))
        if fault.get("drop") == "before":
            raise Dropped
        if status := fault.get("status"):
            raise Refusal(status, fault.get("message", f"The sandbox was told to answer {status}"))
        if not found:
            raise Refusal(404, "Not Found")
        operation, ids = found
        if operation.name != "list-zones" or "Authorization" in self.headers:
            self._check_signature(path, query)
        given = {name: values[-1] for name, values in query.items()}
        try:
            body = json.loads(self.body) if self.body else None
        except ValueError:
            raise Refusal(400, "The body is not JSON") from None
        if problem := contract().problem_of_request(operation, ids | given, body):
            raise Refusal(400, problem)
        answer = self.server.zones() if operation.name == "list-zones" else self.server.organisation.answer(
            operation.name, Request(zone, ids, given, body or {}, fault))
        if problem := contract().problem_of_answer(operation, answer):
            raise RuntimeError(f"its answer to {operation.name} breaks the contract: {problem}")
        if fault.get("drop") == "after":
            raise Dropped
        for field, value in fault.get("set", {}).items():
            change(answer, field.split("."), lambda inner, name, value=value: inner.update({name: value}))
        for field in fault.get("remove", ()):
            change(answer, field.split("."), lambda inner, name: inner.pop(name, None))
        return answer

    def _check_signature(self, path: str, query: dict[str, list[str]]) -> None:
        """Refuse a request that is not signed, as egoscale and PyPI requests-exoscale-auth sign, with the sandbox's key."""
        scheme, _, rest = self.headers.get("Authorization", "").partition(" ")
        fields = dict(field.partition("=")[::2] for field in rest.split(","))
        if scheme != "EXO2-HMAC-SHA256" or not {"credential", "expires", "signature"} <= fields.keys():
            raise Refusal(403, "The request is not signed with EXO2-HMAC-SHA256")
        if fields["credential"] != catalogue.KEY:
            raise Refusal(403, "Unknown API key")
        names = [name for name in fields.get("signed-query-args", "").split(";") if len(query.get(name, ())) == 1]
        if set(names) != set(query):
            raise Refusal(403, "Not all parameters of the query are signed")
        parts = (f"{self.command} {path}".encode(), self.body, "".join(query[name][0] for name in names).encode(), b"",
                 fields["expires"].encode())
        digest = hmac.digest(catalogue.SECRET.encode(), b"\n".join(parts), hashlib.sha256)
        if not hmac.compare_digest(base64.b64encode(digest), fields["signature"].encode()):
            raise Refusal(403, "Invalid signature")
        if int(fields["expires"]) < time.time():
            raise Refusal(403, "The signature has expired")

    def _broken(self, message: str) -> None:
        self.server.broken.append(message)
        self._json({"message": message}, 500)

    def _json(self, content: Any, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        # The path and status only: a signature is in neither.
        if not self.path.startswith("/sandbox/"):
            print(time.strftime("%H:%M:%S"), self.address_string(), format % arguments, flush=True)


class Dropped(Exception):
    """The connection shall end without an answer."""


def change(answer: Any, names: list[str], what: Any) -> None:
    """Do something to a field of an answer, in every element of the lists on the way."""
    if isinstance(answer, list):
        for element in answer:
            change(element, names, what)
    elif len(names) > 1:
        if names[0] in answer:
            change(answer[names[0]], names[1:], what)
    else:
        what(answer, names[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", required=True, metavar="ADDRESS:PORT")
    parser.add_argument("--state", required=True, type=Path, metavar="FILE.json")
    parser.add_argument("--cluster", required=True, type=Path, metavar="DIR")
    parser.add_argument("--seconds", type=float, default=0.5, help="how long operations take")
    options = parser.parse_args()
    address, _, port = options.listen.rpartition(":")
    server = Exoscale((address, int(port)), options.state, options.cluster, options.seconds)
    print(f"Stand-in for Exoscale's API on {server.url}, state in {options.state}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
