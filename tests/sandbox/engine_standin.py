# SPDX-License-Identifier: GPL-3.0-or-later
"""What the stand-ins for TGI and vLLM share: a start that is refused where the engine's table says so, and made-up answers.

The tables are the collection's (plugins/module_utils/engines, copied beside this file as the package `engines`); each cites
the engine's own source. Nothing here loads weights, uses a GPU or generates: every answer says that it is made up.

POST /sandbox/faults {"broken": true} makes every request fail as it does when the GPU's part of the engine fails; DELETE ends it.
"""
from __future__ import annotations

import contextlib
import http.server
import json
import re
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from engine_metrics import Metrics
from engines.contract import COMMON, COMMON_PREFIXES, Contract

# What Kubernetes and images set for every container.
AROUND = re.compile(r"PATH|HOSTNAME|HOME|USER|KUBERNETES_\w+|\w+_(SERVICE_HOST|SERVICE_PORT\w*|PORT(_\d+_(TCP|UDP)\w*)?)")
TOKENS = ("HF_TOKEN", "HF_API_TOKEN", "HUGGING_FACE_HUB_TOKEN")
TOKEN_SECONDS = 0.01  # that a made-up token takes, so that requests at once can be seen
DEFAULT_TOKENS = 100


class Refused(Exception):
    """Why the server does not start, as a sentence."""


class Failed(Exception):
    """Why a request is not answered: HTTP status and body."""


class Settings(NamedTuple):
    """What a start amounts to.

    Attributes:
        model: the name under which the engine knows the model.
        context: tokens of a request.
        key: the API key; empty where none is needed.
    """

    model: str
    port: int
    context: int
    key: str


def arguments(contract: Contract, argv: list[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Positional arguments, and the values of each option."""
    loose: list[str] = []
    given: dict[str, list[str]] = {}
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            loose.append(word)
            continue
        name, equals, value = word.partition("=")
        if name in contract.removed or name not in contract.flags:
            raise Refused(f"error: unrecognized arguments: {name}: {contract.title} {contract.version} has no such option.")
        count = contract.flags[name]
        values = [value] if equals else []
        while rest and len(values) != count and not rest[0].startswith("--"):
            values.append(rest.pop(0))
        if count >= 0 and len(values) != count:
            raise Refused(f"error: argument {name}: expected {count} values, not {len(values)}.")
        given[name] = values
    return loose, given


def check_environment(contract: Contract, environ: Mapping[str, str]) -> None:
    """Refuse what the engine would not read, and a hub token, which it never needs."""
    for name in TOKENS:
        if name in environ:
            raise Refused(f"{name} is set: the server needs no Hugging Face token, only the download does.")
    if environ.get("HF_HUB_OFFLINE") != "1":
        raise Refused("HF_HUB_OFFLINE is not 1: the server would ask the Hugging Face hub.")
    known, prefixes = contract.environment | COMMON, contract.prefixes + COMMON_PREFIXES
    for name in environ:
        if name in contract.removed or not (name in known or name.startswith(prefixes) or AROUND.fullmatch(name)):
            raise Refused(f"{contract.title} {contract.version} reads no environment variable {name}.")


def check_model(path: str) -> None:
    """Refuse what is no model on this machine."""
    if not (Path(path) / "config.json").is_file():
        raise Refused(f"{path!r} is not a local directory with a config.json: the server would download it.")


def number(what: str, value: str, least: float, most: float) -> float:
    """The value between these two, or refused."""
    try:
        if least <= float(value) <= most:
            return float(value)
    except ValueError:
        pass
    raise Refused(f"{what} {value!r} is not between {least:g} and {most:g}.")


class Request(NamedTuple):
    """What a client asks.

    Attributes:
        prompt: tokens of the prompt, which are its words here.
        words: of the answer.
        finish: ``length`` where the answer had to be cut, else ``stop``.
    """

    body: dict
    prompt: int
    words: list[str]
    finish: str

    @property
    def usage(self) -> dict[str, int]:
        made = len(self.words)
        return {"prompt_tokens": self.prompt, "completion_tokens": made, "total_tokens": self.prompt + made}


class Handler(http.server.BaseHTTPRequestHandler):
    """The routes that TGI and vLLM have in common; a subclass has its engine's own, and how it differs."""
    protocol_version = "HTTP/1.1"
    contract: Contract
    settings: Settings
    metrics: Metrics
    # GET routes -> method; POST routes -> method.
    GET = {"/health": "get_nothing", "/ping": "get_nothing", "/metrics": "get_metrics", "/v1/models": "get_models"}
    POST = {"/v1/chat/completions": "post_chat", "/v1/completions": "post_completion", "/sandbox/faults": "post_faults"}
    faults: dict[str, bool] = {}

    # What engines differ in

    def needs_key(self) -> bool:
        return self.path in self.contract.keyed

    def is_key(self, given: str) -> bool:
        """Whether this Authorization header opens."""
        return given == f"Bearer {self.settings.key}"

    def unauthorized(self) -> None:
        """Answer a request without the right key."""
        raise NotImplementedError

    def too_long(self, prompt: int, wanted: int) -> Failed:
        """The failure of a request that the context cannot hold."""
        raise NotImplementedError

    def named(self, body: dict, chat: bool) -> str:
        """The model's name in the answer."""
        return self.settings.model

    def broken(self) -> Failed:
        """The failure of a request that the engine could not compute, counted."""
        raise NotImplementedError

    def began(self, request: Request) -> None:
        """Count a request that begins."""

    def ended(self, request: Request, seconds: float, finish: str) -> None:
        """Count a request that was answered, or whose client has gone (``abort``)."""

    # What they share

    def do_GET(self) -> None:
        self.dispatch(self.GET)

    def do_POST(self) -> None:
        self.dispatch(self.POST)

    def do_DELETE(self) -> None:
        self.dispatch({"/sandbox/faults": "delete_faults"})

    def dispatch(self, routes: dict[str, str]) -> None:
        self.data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.settings.key and self.needs_key() and not self.is_key(self.headers.get("Authorization", "")):
            return self.unauthorized()
        if self.path not in routes:
            return self.answer(404, {"detail": "Not Found"})
        try:
            getattr(self, routes[self.path])()
        except Failed as failure:
            self.answer(*failure.args)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.answer(422, {"error": f"the stand-in cannot read this request: {error}", "error_type": "validation"})

    def answer(self, status: int, body: object, kind: str = "application/json") -> None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self, events: Iterator[dict | str]) -> None:
        """Answer with server-sent events; the connection's end is theirs."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(ConnectionError), contextlib.closing(events):
            for event in events:
                self.wfile.write(f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode())
                self.wfile.flush()

    def post_faults(self) -> None:
        type(self).faults = json.loads(self.data)
        self.answer(200, self.faults)

    def delete_faults(self) -> None:
        type(self).faults = {}
        self.answer(200, {})

    def get_nothing(self) -> None:
        self.answer(200, "", "text/plain")

    def get_metrics(self) -> None:
        self.answer(200, self.metrics.text(), "text/plain; version=0.0.4")

    def get_models(self) -> None:
        card = {"id": self.settings.model, "object": "model", "created": 0, "owned_by": self.contract.title}
        self.answer(200, {"object": "list", "data": [card]})

    def understood(self, body: dict, prompt: str, wanted: int | None) -> Request:
        """A request of at most these tokens of answer."""
        if self.faults.get("broken"):
            raise self.broken()
        asked = len(prompt.split())
        if asked + (wanted or 1) > self.settings.context:
            raise self.too_long(asked, wanted or 1)
        text = f"This is a stand-in for {self.contract.title}, which made this sentence up and asked no model."
        words = text.split()
        most = min(wanted or DEFAULT_TOKENS, self.settings.context - asked)
        return Request(body, asked, words[:most], "length" if most < len(words) else "stop")

    def generate(self, request: Request) -> Iterator[str]:
        """The answer word by word, counted."""
        start = time.monotonic()
        self.began(request)
        finish = "abort"
        try:
            for place, word in enumerate(request.words):
                time.sleep(TOKEN_SECONDS)
                yield word if not place else f" {word}"
            finish = request.finish
        finally:  # also where the client has gone
            self.ended(request, time.monotonic() - start, finish)

    def post_chat(self) -> None:
        body = json.loads(self.data)
        prompt = " ".join(str(message["content"]) for message in body["messages"])
        request = self.understood(body, prompt, body.get("max_completion_tokens") or body.get("max_tokens"))
        self.complete(request, "chat.completion", lambda text: {"message": {"role": "assistant", "content": text}},
                      lambda text: {"delta": {"role": "assistant", "content": text}})

    def post_completion(self) -> None:
        body = json.loads(self.data)
        request = self.understood(body, str(body["prompt"]), body.get("max_tokens"))
        self.complete(request, "text_completion", lambda text: {"text": text}, lambda text: {"text": text})

    def complete(self, request: Request, kind: str, whole, part) -> None:
        """Answer in OpenAI's form: at once, or where the body has ``stream`` word by word."""
        chat = kind.startswith("chat")
        head = {"id": "stand-in", "created": int(time.time()), "model": self.named(request.body, chat)}
        if not request.body.get("stream"):
            choice = {"index": 0, "finish_reason": request.finish, "logprobs": None}
            text = "".join(self.generate(request))
            self.answer(200, head | {"object": kind, "choices": [choice | whole(text)], "usage": request.usage})
            return
        head["object"] = f"{kind}.chunk" if chat else kind
        self.stream(self.chunks(request, head, part))

    def chunks(self, request: Request, head: dict, part) -> Iterator[dict | str]:
        for place, word in enumerate(self.generate(request), 1):
            finish = request.finish if place == len(request.words) else None
            yield head | {"choices": [{"index": 0, "finish_reason": finish, "logprobs": None} | part(word)], "usage": None}
        if (request.body.get("stream_options") or {}).get("include_usage"):
            yield head | {"choices": [], "usage": request.usage}
        yield "[DONE]"

    def log_message(self, format: str, *args: object) -> None:
        if self.path not in ("/health", "/metrics"):
            print(format % args, flush=True)


def serve(handler: type[Handler]) -> None:
    """Answer until the process is told to stop."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    http.server.ThreadingHTTPServer(("0.0.0.0", handler.settings.port), handler).serve_forever()
