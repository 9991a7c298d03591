# SPDX-License-Identifier: GPL-3.0-or-later
"""The client of the engines' API, against small servers that answer as the engines do, and as they should not."""

from __future__ import annotations

import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from ansible_collections.selfhosted.llm.plugins.module_utils import openai
from ansible_collections.selfhosted.llm.plugins.module_utils.openai import CHAT, EMBEDDINGS, ROUTES, Answer, Endpoint, EndpointError

KEY = "the-right-key"
METRICS = """# HELP llamacpp:n_decode_total Calls of decode
# TYPE llamacpp:n_decode_total counter
llamacpp:n_decode_total 12
# TYPE request_seconds histogram
request_seconds_bucket{le="0.5",method="POST"} 3
request_seconds_sum 0.25
request_seconds_count 3
# TYPE never_observed counter
"""


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers each path with what the test put into ``answers``: a status, and a body or the pieces of a chunked one."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append((self.path, json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "null")))
        status, body = self.server.answers[self.path]
        if self.headers.get("Authorization") != f"Bearer {KEY}":
            status, body = 401, b'{"error": {"message": "Invalid API Key"}}'
        self.send_response(status)
        if isinstance(body, bytes):
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in body:
            if isinstance(piece, float):
                time.sleep(piece)
            elif piece is None:  # breaks off
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            else:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    do_POST = do_GET

    def log_message(self, *_args):
        pass


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answers, server.asked = {}, []
    server.handle_error = lambda *_: None  # a client that goes away is meant to
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def endpoint(server) -> Endpoint:
    return Endpoint(lambda: socket.create_connection(server.server_address), "alice-chat", KEY, timeout=2)


def event(data: object) -> bytes:
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def delta(text: str | None) -> bytes:
    return event({"model": "alice-chat", "choices": [{"delta": {"role": "assistant", "content": text}}]})


def said(answer: Answer) -> tuple[str, int, int | None]:
    return answer.text, answer.tokens, answer.prompt_tokens


USAGE = event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})
DONE = event(b"[DONE]")


def test_models_and_metrics_are_names(endpoint, server):
    server.answers["/v1/models"] = 200, b'{"data": [{"id": "alice-chat"}, {"id": "alice-chat-2"}]}'
    server.answers["/metrics"] = 200, METRICS.encode()
    assert endpoint.models() == ["alice-chat", "alice-chat-2"]
    histogram = {"request_seconds", "request_seconds_bucket", "request_seconds_sum", "request_seconds_count"}
    assert endpoint.metrics() == {"llamacpp:n_decode_total"} | histogram


def test_an_embedding_counts_the_tokens_of_the_text(endpoint, server):
    server.answers[EMBEDDINGS] = 200, b'{"data": [{"embedding": [0.5, -1]}], "usage": {"prompt_tokens": 3}}'
    answer = endpoint.embed("hello")
    assert (answer.text, answer.tokens) == ("", 3)
    assert answer.tokens_per_second == pytest.approx(3 / answer.seconds)
    assert server.asked == [(EMBEDDINGS, {"model": "alice-chat", "input": "hello"})]


def test_a_chat_completion_in_one_piece(endpoint, server):
    body = {"model": "alice-chat", "choices": [{"message": {"content": "Hello!"}}], "usage": {"completion_tokens": 3, "prompt_tokens": 9}}
    server.answers[CHAT] = 200, json.dumps(body).encode()
    answer = endpoint.chat()
    assert (answer.text, answer.tokens, answer.prompt_tokens, answer.model) == ("Hello!", 3, 9, "alice-chat")
    assert answer.first_token is None
    assert answer.tokens_per_second == pytest.approx(3 / answer.seconds)


def test_what_a_model_thinks_is_generated_too(endpoint, server):
    """A short completion of a reasoning model has thoughts alone."""
    message = {"content": None, "reasoning_content": "The user"}
    server.answers[CHAT] = 200, json.dumps({"choices": [{"message": message}], "usage": {"completion_tokens": 2}}).encode()
    assert endpoint.chat().text == "The user"


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_stream_is_read_whatever_its_chunks(endpoint, server, size):
    stream = b": a comment\n\n" + delta(None) + delta("Grüß") + delta(" Gott") + delta("!").replace(b"\n", b"\r\n") + USAGE + DONE
    server.answers[CHAT] = 200, [stream[i : i + size] for i in range(0, len(stream), size)]
    answer = endpoint.ask(CHAT, stream=True)
    assert said(answer) == ("Grüß Gott!", 3, 7)
    assert server.asked[-1][1]["stream_options"] == {"include_usage": True}


def test_the_first_token_and_the_speed_after_it():
    pieces = [(0.1, ""), (0.8, "a"), (0.9, "b"), (1.0, "c"), (1.1, "")]
    answer = openai._put_together([(seconds, openai.Piece(text, None, None)) for seconds, text in pieces], CHAT, stream=True)
    assert (answer.first_token, answer.seconds, answer.tokens) == (0.8, 1.1, 3)
    assert answer.tokens_per_second == pytest.approx(2 / 0.2)  # the first token's time is the prompt's


def test_without_usage_the_pieces_are_counted(endpoint, server):
    server.answers[CHAT] = 200, [delta("a"), delta("b"), DONE]
    answer = endpoint.ask(CHAT, stream=True)
    assert (answer.tokens, answer.prompt_tokens) == (2, None)


def test_the_native_routes_of_llama_cpp(endpoint, server):
    pieces = [{"content": "Hi", "stop": False, "tokens_predicted": 1}, {"content": " you", "stop": False, "tokens_predicted": 2}]
    last = {"content": "", "stop": True, "tokens_predicted": 2, "tokens_evaluated": 5}
    server.answers["/completion"] = 200, [*map(event, pieces), event(last)]
    assert said(endpoint.ask("/completion", stream=True)) == ("Hi you", 2, 5)
    server.answers["/completion"] = 200, json.dumps(last | {"content": "Hi you"}).encode()
    assert said(endpoint.ask("/completion")) == ("Hi you", 2, 5)


def test_the_native_routes_of_tgi(endpoint, server):
    def token(text: str, **more) -> bytes:
        return event({"token": {"text": text}, "generated_text": None, "details": None} | more).replace(b": ", b":", 1)

    details = {"generated_tokens": 2, "input_length": 4}
    server.answers["/generate_stream"] = 200, [token("Hi"), token(" you", generated_text="Hi you", details=details)]
    assert said(endpoint.ask("/generate_stream", stream=True)) == ("Hi you", 2, 4)
    body = {"generated_text": "Hi you", "details": {"generated_tokens": 2, "prefill": [{}, {}, {}]}}
    server.answers["/generate"] = 200, json.dumps(body).encode()
    assert said(endpoint.ask("/generate")) == ("Hi you", 2, 3)


@pytest.mark.parametrize("path", ROUTES)
def test_every_route_says_how_long_and_asks_for_one_answer_again_and_again(endpoint, server, path):
    server.answers[path] = 404, b""
    with pytest.raises(EndpointError):
        endpoint.ask(path, "Why?", 5)
    body = server.asked[0][1]
    settings = body.get("parameters", body)
    assert 5 in (settings.get("max_tokens"), settings.get("n_predict"), settings.get("max_new_tokens"))
    assert settings["seed"] == 1 and (settings.get("temperature") == 0 or settings["do_sample"] is False)
    assert ("model" in body) is path.startswith("/v1/")


def test_the_wrong_key_is_told_by_its_status(endpoint, server):
    server.answers[CHAT] = 200, b"{}"
    endpoint.key = "wrong"
    with pytest.raises(EndpointError, match="HTTP 401: .*Invalid API Key") as refused:
        endpoint.chat()
    assert refused.value.status == 401


BROKEN = {
    "breaks off between two events": ([delta("a"), None], "did not answer"),
    "breaks off within an event": ([delta("a"), b"data: {"], "broke off"),
    "ends with an error": ([delta("a"), event({"error": {"message": "out of memory"}})], "out of memory"),
    "is no JSON": ([event(b"<html>")], "something else: <html>"),
    "is something else": ([event({"token": 1})], "something else"),
    "is a list": ([event([1])], "something else"),
    "has no text": ([delta(""), USAGE, DONE], "empty"),
}


@pytest.mark.parametrize(("pieces", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_stream_is_a_sentence(endpoint, server, pieces, said):
    server.answers[CHAT] = 200, pieces
    with pytest.raises(EndpointError, match=said):
        endpoint.ask(CHAT, stream=True)


def test_silence_is_a_sentence(endpoint, server):
    endpoint.timeout = 0.2
    server.answers[CHAT] = 200, [delta("a"), 1.0, DONE]
    with pytest.raises(EndpointError, match="did not answer .*timed out"):
        endpoint.ask(CHAT, stream=True)


@pytest.mark.parametrize("body", [b"", b"no", b"[]", b'{"data": [{}]}', b'{"data": [{"embedding": "AAA="}]}', b"null"])
def test_a_wrong_answer_is_a_sentence(endpoint, server, body):
    for path in ("/v1/models", EMBEDDINGS, CHAT):
        server.answers[path] = 200, body
    for ask in (endpoint.models, endpoint.embed, endpoint.chat):
        with pytest.raises(EndpointError, match="with something else"):
            ask()
