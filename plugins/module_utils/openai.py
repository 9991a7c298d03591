# Copyright: (c) 2026, selfhosted.llm contributors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Talk to a deployment's HTTP API, OpenAI's and the engines' own routes, and time its answers."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NamedTuple

from .errors import UserError

QUESTION = "Say hello in one short sentence."
# For routes that go on with a text instead of answering it.
BEGINNING = "Once upon a time, there was a little"
MAX_TOKENS = 24
# The same question gets the same answer, as far as the engine can.
SEED = 1


class Answer(NamedTuple):
    """What an endpoint answered.

    Attributes:
        text: the completion.
        seconds: from sending the question to the whole answer.
        tokens_per_second: after the first token where the answer was streamed; else of all seconds, so the prompt's share is in it.
        tokens: of the completion, as the engine counts them; the pieces of a stream where it does not.
        prompt_tokens: of the question, as the engine counts them; None where it does not.
        first_token: seconds from sending the question to the first piece of text; None where the answer was not streamed.
        model: the model's name as the answer has it; None where it has none.
    """

    text: str
    seconds: float
    tokens_per_second: float
    tokens: int = 0
    prompt_tokens: int | None = None
    first_token: float | None = None
    model: str | None = None


class EndpointError(UserError):
    """The endpoint answered wrongly or not at all, as a part of a sentence that begins with the endpoint.

    Attributes:
        status: HTTP status, or None where no answer came.
    """

    def __init__(self, message: str, status: int | None = None):
        super().__init__(message)
        self.status = status


class Piece(NamedTuple):
    """A whole answer, or one piece of a stream: its text, and the tokens of answer and question where it tells."""

    text: str
    tokens: int | None
    prompt_tokens: int | None
    model: str | None = None


def _messages(question: str, max_tokens: int) -> dict:
    return {"messages": [{"role": "user", "content": question}], "max_tokens": max_tokens, "temperature": 0, "seed": SEED}


def _prompt(question: str, max_tokens: int) -> dict:
    return {"prompt": question, "max_tokens": max_tokens, "temperature": 0, "seed": SEED}


def _llama_cpp(question: str, max_tokens: int) -> dict:
    return {"prompt": question, "n_predict": max_tokens, "temperature": 0, "seed": SEED}


def _tgi(question: str, max_tokens: int) -> dict:
    return {"inputs": question, "parameters": {"max_new_tokens": max_tokens, "do_sample": False, "seed": SEED, "details": True}}


def _read_openai(data: dict) -> Piece:
    text = ""
    for choice in data["choices"][:1]:  # none in the piece that tells the usage
        said = choice.get("message") or choice.get("delta") or choice
        # what a model thinks before it answers is generated too; engines name it differently
        text = said.get("content") or said.get("text") or said.get("reasoning_content") or said.get("reasoning") or ""
    usage = data.get("usage") or {}
    return Piece(text, usage.get("completion_tokens"), usage.get("prompt_tokens"), data.get("model"))


def _read_llama_cpp(data: dict) -> Piece:
    end = data.get("stop", True)  # pieces before the last count what there is so far
    return Piece(data["content"], data.get("tokens_predicted") if end else None, data.get("tokens_evaluated") if end else None)


def _read_tgi(data: dict) -> Piece:
    details = data.get("details") or {}
    text = data["token"]["text"] if "token" in data else data["generated_text"]
    return Piece(text, details.get("generated_tokens"), details.get("input_length") or len(details.get("prefill") or ()) or None)


class Route(NamedTuple):
    """A route that completes text.

    Attributes:
        body: the request for a question and the most tokens of the answer.
        read: reads an answer, or one piece of a stream.
        stream: what the body has besides for an answer in pieces; None where the route cannot.
        whole: whether it can answer in one piece.
        engine: whose own it is; None for those of OpenAI, which all have, and which take the model's name.
        question: what to ask where nothing else is.
    """

    body: Callable[[str, int], dict]
    read: Callable[[dict], Piece]
    stream: dict | None
    whole: bool = True
    engine: str | None = None
    question: str = BEGINNING


_USAGE = {"stream": True, "stream_options": {"include_usage": True}}
CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
ROUTES = {
    CHAT: Route(_messages, _read_openai, _USAGE, question=QUESTION),
    "/v1/completions": Route(_prompt, _read_openai, _USAGE),
    "/completion": Route(_llama_cpp, _read_llama_cpp, {"stream": True}, engine="llama_cpp"),
    "/generate": Route(_tgi, _read_tgi, None, engine="tgi"),
    "/generate_stream": Route(_tgi, _read_tgi, {}, whole=False, engine="tgi"),
}


class Endpoint:
    """The API of one deployment; each question has a connection of its own, so that several threads may ask at once.

    Args:
        connect: opens a connection to it.
        model: the model's name in the API.
        key: the API key; None where there is none.
        timeout: seconds for which it may be silent.
    """

    def __init__(self, connect: Callable[[], socket.socket], model: str, key: str | None, timeout: float = 60):
        self.connect = connect
        self.model = model
        self.key = key
        self.timeout = timeout

    def request(self, method: str, path: str, body: dict | None = None) -> bytes:
        """Send one request and return the whole answer.

        Raises:
            EndpointError: no answer, or an error status.
        """
        return b"".join(data for _seconds, data in self._exchange(method, path, body))

    def models(self) -> list[str]:
        """The names of the models that it serves.

        Raises:
            EndpointError: no answer, an error status, or no list of models.
        """
        return _read("/v1/models", self.request("GET", "/v1/models"), lambda answer: [str(model["id"]) for model in answer["data"]])

    def metrics(self) -> set[str]:
        """The names of its metrics, those of a histogram's parts and its own.

        Raises:
            EndpointError: no answer, or an error status.
        """
        text = self.request("GET", "/metrics").decode(errors="replace")
        samples = set(re.findall(r"^([a-zA-Z_:][\w:]*)(?=[{\s])", text, re.MULTILINE | re.ASCII))
        return samples | {name for name in re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE) if f"{name}_count" in samples}

    def embed(self, text: str = QUESTION) -> Answer:
        """Ask for the embedding of a text: the tokens are those of the text, and there is no other text.

        Raises:
            EndpointError: no answer, an error status, or no vector of numbers.
        """

        def read(answer: Any) -> tuple[int, str | None]:
            if not all(isinstance(value, float | int) for value in answer["data"][0]["embedding"]):
                raise TypeError
            return answer["usage"]["prompt_tokens"], answer.get("model")

        with closing(self._exchange("POST", EMBEDDINGS, {"model": self.model, "input": text})) as exchange:
            seconds, data = _whole(exchange)
        tokens, model = _read(EMBEDDINGS, data, read)
        return Answer("", seconds, tokens / seconds, tokens, tokens, None, model)

    def chat(self, question: str = QUESTION, max_tokens: int = MAX_TOKENS) -> Answer:
        """Ask for a short chat completion; see ``ask``."""
        return self.ask(CHAT, question, max_tokens)

    def ask(
        self,
        path: str,
        question: str | None = None,
        max_tokens: int = MAX_TOKENS,
        stream: bool = False,
        extra: dict | None = None,
    ) -> Answer:
        """Ask for a completion.

        Args:
            path: one of ROUTES.
            question: the route's own where not given.
            max_tokens: of the answer, at most.
            stream: take the answer in pieces.
            extra: what the request has besides.

        Raises:
            EndpointError: no answer, an error status, an empty completion, or a stream that breaks off.
        """
        route = ROUTES[path]
        body = route.body(question or route.question, max_tokens) | (extra or {})
        if not route.engine:
            body["model"] = self.model
        if stream:
            body |= route.stream or {}
        with closing(self._exchange("POST", path, body)) as exchange:
            answers = _events(exchange, path) if stream else [_whole(exchange)]
            return _put_together([(seconds, _read(path, data, route.read)) for seconds, data in answers], path, stream)

    def _exchange(self, method: str, path: str, body: dict | None) -> Iterator[tuple[float, bytes]]:
        """Send one request; yield the answer as it comes, with the seconds since the request."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        client = http.client.HTTPConnection("pod", timeout=self.timeout)
        client.sock = self.connect()
        client.sock.settimeout(self.timeout)
        # The clock starts with the connection open: whoever uses the deployment's Service has a shorter way to it.
        start = time.monotonic()
        try:
            client.request(method, path, None if body is None else json.dumps(body), headers)
            response = client.getresponse()
            if response.status != 200:
                said = " ".join(response.read(1000).decode(errors="replace").split())
                raise EndpointError(f"it answered {path} with HTTP {response.status}: {said[:200]}", response.status)
            # read1 gives what has come; of an announced length, read notices what is missing
            while data := response.read1() if response.length is None else response.read():
                yield time.monotonic() - start, data
        except (OSError, http.client.HTTPException) as error:
            raise EndpointError(f"it did not answer {path}: {error or type(error).__name__}") from None
        finally:
            client.close()


def _read(path: str, data: bytes, read: Callable[[Any], Any]) -> Any:
    """What ``read`` makes of an answer or event in JSON."""
    try:
        return read(json.loads(data))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise EndpointError(f"it answered {path} with something else: {data[:200].decode(errors='replace')}") from None


def _put_together(pieces: list[tuple[float, Piece]], path: str, stream: bool) -> Answer:
    """The answer that these pieces are, each with the seconds since the question."""

    def told(what: str) -> Any:
        """What the engine said last of the whole answer."""
        return next(filter(None, (getattr(piece, what) for _seconds, piece in reversed(pieces))), None)

    spoken = [seconds for seconds, piece in pieces if piece.text]
    tokens = told("tokens") or len(spoken) * stream
    if not spoken or not tokens:
        raise EndpointError(f"its completion on {path} is empty")
    first, last, end = spoken[0], spoken[-1], pieces[-1][0]
    speed = (tokens - 1) / (last - first) if tokens > 1 and last > first else tokens / end
    text = "".join(piece.text for _seconds, piece in pieces)
    return Answer(text, end, speed, tokens, told("prompt_tokens"), first if stream else None, told("model"))


def _whole(pieces: Iterator[tuple[float, bytes]]) -> tuple[float, bytes]:
    """An answer that is no stream, with the seconds until it was there."""
    times, parts = zip(*(list(pieces) or [(0.0, b"")]), strict=True)
    return times[-1], b"".join(parts)


def _events(pieces: Iterator[tuple[float, bytes]], path: str) -> Iterator[tuple[float, bytes]]:
    """The data of a stream's events (server-sent events).

    Raises:
        EndpointError: the stream ends within one.
    """
    rest, event = b"", []
    for seconds, piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            field, _colon, value = line.rstrip(b"\r").partition(b":")
            if field == b"data":
                event.append(value.removeprefix(b" "))
            elif line in (b"", b"\r") and event:
                data, event = b"\n".join(event), []
                if data != b"[DONE]":
                    yield seconds, data
    if rest or event:
        raise EndpointError(f"its stream on {path} broke off")
