"""What people do to a server: it goes on, and nothing stays behind."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from tests.mlxbuild.serving.conftest import ServeProcess

QUESTION = [{"role": "user", "content": "What is a lock?"}]
ANSWER = "A lock is a file beside the spec that pins every source by its digest."


@pytest.fixture
def address(served: ServeProcess) -> tuple[str, int]:
    """Where the server listens."""
    parts = urlsplit(served.url)
    return str(parts.hostname), int(parts.port or 0)


@pytest.fixture(autouse=True)
def _goes_on(raw: httpx.Client) -> Any:
    """After each of these tests the server answers, and nothing runs any more."""
    yield
    told = raw.post("/api/chat", json={"model": "hello", "messages": QUESTION, "think": False, "stream": False})
    assert told.json()["message"]["content"] == ANSWER
    soon(lambda: all(model["requests"] == 0 for model in raw.get("/api/ps").json()["models"]))


def soon(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    for _ in range(600):
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come to hold")


def request(path: str, body: bytes) -> bytes:
    """The bytes of a request."""
    return f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def long_answer(**more: Any) -> bytes:
    """A question whose answer takes a while."""
    options = {"num_predict": 1500, "temperature": 1.5, "seed": 7, "stop": []}
    fields = {"model": "hello", "prompt": "<|im_start|>user\nWhat", "raw": True, "options": options}
    return json.dumps(fields | more).encode()


@pytest.mark.parametrize("streams", [True, False])
def test_clients_vanish_by_the_hundred(address: tuple[str, int], served: ServeProcess, streams: bool) -> None:
    descriptors = psutil.Process(served.process.pid).num_fds()
    for _ in range(4):
        with ExitStack() as stack:
            for number in range(50):
                connection = stack.enter_context(socket.create_connection(address, timeout=30))
                connection.sendall(request("/api/generate", long_answer(stream=streams)))
                if number % 2:  # half of them in the rudest way: a reset
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            time.sleep(0.2)
    soon(lambda: psutil.Process(served.process.pid).num_fds() <= descriptors + 5)


def test_a_thousand_connections(address: tuple[str, int], raw: httpx.Client) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(socket.create_connection(address, timeout=30)) for _ in range(1000)]
        for connection in idle[::10]:
            connection.sendall(b"GET /api/version HTTP/1.1\r\nhost: localhost\r\n\r\n")
        for connection in idle[::10]:
            assert connection.recv(100).startswith(b"HTTP/1.1 200")
        told = raw.post("/api/chat", json={"model": "hello", "messages": QUESTION, "think": False, "stream": False})
        assert told.json()["message"]["content"] == ANSWER


def test_connections_that_have_ended_take_no_memory(address: tuple[str, int], served: ServeProcess) -> None:
    process = psutil.Process(served.process.pid)

    def connect(times: int) -> None:
        for _ in range(times):
            with socket.create_connection(address, timeout=30) as connection:
                connection.sendall(request("/api/chat", b"nonsense"))
                assert connection.recv(4096).startswith(b"HTTP/1.1 400")

    connect(500)
    before = process.memory_info().rss
    connect(1500)
    assert process.memory_info().rss - before < 3 * 2**20  # that many leave twice as much behind if nobody looks


def test_half_sent_requests_do_not_hold_up_others(address: tuple[str, int], raw: httpx.Client) -> None:
    body = json.dumps({"model": "hello", "messages": QUESTION}).encode()
    with ExitStack() as stack:
        for cut in (10, 50, len(request("/api/chat", body)) - 5):
            for _ in range(20):
                connection = stack.enter_context(socket.create_connection(address, timeout=30))
                connection.sendall(request("/api/chat", body)[:cut])
        assert raw.get("/api/version").status_code == 200


def test_slow_readers_do_not_hold_up_others(address: tuple[str, int], raw: httpx.Client) -> None:
    with ExitStack() as stack:
        slow = []
        for _ in range(8):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            connection.connect(address)
            connection.sendall(request("/api/generate", long_answer(logprobs=True)))
            slow.append(connection)
        told = raw.post("/api/chat", json={"model": "hello", "messages": QUESTION, "think": False, "stream": False})
        assert told.json()["message"]["content"] == ANSWER
        slow[0].settimeout(60)
        read = bytearray()
        while b'"done":true' not in read and b'"error"' not in read and (piece := slow[0].recv(700)):
            read += piece
        assert b'"done":true' in read


def test_bodies_of_a_hundred_megabytes(raw: httpx.Client, served: ServeProcess) -> None:
    huge = b'{"model": "hello", "prompt": "' + b"x" * 101_000_000 + b'"}'
    for path in ("/api/generate", "/v1/chat/completions", "/v1/messages"):
        assert raw.post(path, content=huge).status_code == 413
    nested = b'{"model": "hello", "messages": ' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}"
    assert raw.post("/api/chat", content=nested).status_code == 400
    before = psutil.Process(served.process.pid).memory_info().rss
    assert before < 1_000_000_000


def test_a_prompt_much_longer_than_the_context(raw: httpx.Client, served: ServeProcess) -> None:
    words = "word " * 200_000
    answers: list[httpx.Response] = []
    ask = {"model": "hello", "messages": [{"role": "user", "content": words}], "truncate": False, "stream": False}
    asking = threading.Thread(target=lambda: answers.append(raw.post("/api/chat", json=ask)))
    asking.start()
    told = httpx.get(f"{served.url}/api/version")
    assert told.status_code == 200
    asking.join(timeout=120)
    assert answers[0].status_code == 400
    assert "2048" in answers[0].json()["error"]


WRONG: list[Any] = [None, True, -1, 2**70, 1.5, "x", [], [1], {}, {"a": 1}, "\ud800", "\0", "x" * 10_000]


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/embed", "/api/show", "/api/copy", "/api/create"])
def test_wrong_types_everywhere(raw: httpx.Client, path: str) -> None:
    fields = ["model", "name", "messages", "prompt", "input", "options", "tools", "format", "think", "keep_alive"]
    fields += ["stream", "source", "destination", "files", "from", "parameters", "modelspec", "images", "context"]
    for field in fields:
        for value in WRONG:
            body: dict[str, Any] = {"model": "nobody", "source": "nobody", "destination": "nobody", field: value}
            answer = raw.post(path, content=json.dumps(body).encode())
            refused = 400 <= answer.status_code < 500
            refused = refused or (answer.status_code == 200 and "error" in json.loads(answer.text.splitlines()[-1]))
            assert refused, (field, value, answer.status_code, answer.text)
