"""What holds for every API: errors have a status and a body, streams end in words, ids travel, the end is orderly."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sanic import Request
from sanic.response import HTTPResponse
from sanic.response import json as json_response

from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.tags import UnknownReference
from mlxbuild.runtime.residency.setting_origins import SettingOrigins
from mlxbuild.runtime.server.app import create_app
from mlxbuild.runtime.server.application import Application
from mlxbuild.runtime.server.bodies.json_body import read_json
from mlxbuild.runtime.server.responses.encoding import json_line
from mlxbuild.runtime.server.responses.native_format import NATIVE_FORMAT
from mlxbuild.runtime.server.responses.streams import AnswerStream
from mlxbuild.runtime.server.routing.api import Api
from mlxbuild.runtime.server.routing.route import Route
from mlxbuild.runtime.server.settings import ServerSettings
from tests.runtime.server.connections.wire import until_closed
from tests.runtime.server.running import RunningServer, running, soon

waiting, cancelled = threading.Event(), threading.Event()


async def _echo(request: Request) -> HTTPResponse:
    return json_response(await read_json(request))


async def _early(request: Request) -> None:
    async with AnswerStream(request, NATIVE_FORMAT) as answer:
        raise UnknownReference("it is not there")
    await answer.send(b"never")


async def _midway(request: Request) -> None:
    async with AnswerStream(request, NATIVE_FORMAT) as answer:
        await answer.send(json_line({"piece": 1}))
        raise UnknownReference("it is not there any more")


async def _bug(_request: Request) -> HTTPResponse:
    raise ZeroDivisionError("secret detail")


async def _endless(request: Request) -> None:
    async with AnswerStream(request, NATIVE_FORMAT) as answer:
        await answer.send(json_line({"piece": 1}))
        await _wait()


async def _silent(_request: Request) -> HTTPResponse:
    await _wait()
    return json_response({})


async def _wait() -> None:
    waiting.set()
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        cancelled.set()
        raise


API = Api(
    "Trial",
    ("",),
    NATIVE_FORMAT,
    (
        Route("POST", "/echo", _echo, "Answer what was sent", {}),
        Route("GET", "/early", _early, "Fail before the first piece", {}),
        Route("GET", "/midway", _midway, "Fail after it", {}),
        Route("GET", "/bug", _bug, "Fail by a bug", {}),
        Route("GET", "/endless", _endless, "Begin, and wait", {}),
        Route("GET", "/silent", _silent, "Wait", {}),
    ),
)


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Application:
    """One that no model is asked of."""
    home = Home(tmp_path_factory.mktemp("home"))
    settings = ServerSettings(
        body_limit_bytes=1000, body_seconds=0.5, places=SettingOrigins({"body_seconds": "VARIABLE"})
    )
    return Application(home, Store.open(home), settings, None, None, "0.1.0")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def server(application: Application) -> Iterator[RunningServer]:
    """A server with routes that go wrong."""
    with running(create_app(application, [API])) as server:
        yield server


@pytest.fixture
def client(server: RunningServer) -> Iterator[httpx.Client]:
    """A client of it."""
    cancelled.clear()
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def test_an_error_before_the_first_piece_has_its_status(client: httpx.Client) -> None:
    answer = client.get("/early")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.json() == {"error": "it is not there", "code": "unknown-reference", "kind": "user"}


def test_an_error_midway_is_the_last_line(client: httpx.Client, server: RunningServer) -> None:
    answer = client.get("/midway")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in answer.text.splitlines()] == [
        {"piece": 1},
        {"error": "it is not there any more", "code": "unknown-reference", "kind": "user"},
    ]
    soon(lambda: server.observed[-1].route == "/midway")
    assert server.observed[-1].error == "unknown-reference"


def test_a_bug_tells_no_details(client: httpx.Client) -> None:
    answer = client.get("/bug")
    assert answer.status_code == 500
    assert "secret detail" not in answer.text
    assert answer.json()["code"] == "bug"


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "missing request body"),
        (b"  ", 400, "missing request body"),
        (b"{", 400, "is not JSON"),
        (b"\xff\xfe\x00", 400, "is not JSON"),
        (b"[" * 900, 400, "is not JSON"),
        (b"[]", 400, "a list"),
        (b"null", 400, "null"),
        (b"true", 400, "a boolean"),
        (b'"x"', 400, "a text"),
        (b'{"a": "' + b"x" * 1000 + b'"}', 413, "more than 1000 bytes"),
    ],
)
def test_bodies_that_are_none(client: httpx.Client, body: bytes, status: int, words: str) -> None:
    answer = client.post("/echo", content=body)
    assert answer.status_code == status
    assert words in answer.json()["error"]


def test_a_body_in_chunks_is_bounded_too(client: httpx.Client) -> None:
    answer = client.post("/echo", content=(b" " * 100 for _ in range(20)))
    assert answer.status_code == 413
    assert answer.json()["hint"] == "raise `serve.body_limit` in config.yaml, now 1 kB"
    assert client.post("/echo", content=iter([b'{"a":', b" 1}"])).json() == {"a": 1}


@pytest.mark.parametrize("head", [b"content-length: 100\r\n\r\n{", b"transfer-encoding: chunked\r\n\r\n5\r\n{"])
def test_half_sent_bodies_time_out(server: RunningServer, head: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(b"POST /echo HTTP/1.1\r\nhost: localhost\r\n" + head)
        told = until_closed(connection)
    assert told.startswith(b"HTTP/1.1 408 ")
    assert b"raise `serve.body_seconds` in VARIABLE, now 0.5" in told


def test_ids_travel(client: httpx.Client) -> None:
    assert client.get("/early", headers={"X-Request-Id": "mine-1"}).headers["X-Request-Id"] == "mine-1"
    assert client.get("/midway", headers={"X-Request-Id": "mine-2"}).headers["X-Request-Id"] == "mine-2"
    unsound = client.get("/early", headers={"X-Request-Id": "a b" + "c" * 200}).headers["X-Request-Id"]
    assert unsound.startswith("req_")
    assert client.get("/nowhere").headers["X-Request-Id"].startswith("req_")


def test_unknown_paths_and_methods(client: httpx.Client) -> None:
    nowhere, wrong = client.get("/nowhere"), client.put("/echo", json={})
    assert (nowhere.status_code, nowhere.json()["error"]) == (404, "404 page not found")
    assert (wrong.status_code, wrong.json()["error"]) == (405, "405 method not allowed")
    assert wrong.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/endless", "/silent"])
def test_a_client_that_goes_away_cancels(server: RunningServer, path: str, caplog: pytest.LogCaptureFixture) -> None:
    waiting.clear()
    cancelled.clear()
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        assert waiting.wait(timeout=30)
        if path == "/endless":
            assert connection.recv(1000)
    assert cancelled.wait(timeout=30)
    soon(lambda: server.observed[-1].path == path)
    assert (server.observed[-1].status, server.observed[-1].error) == (499, None)
    time.sleep(0.1)  # it would be told of after that
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("sent", ["GET", "POST /echo HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\nhalf"])
def test_half_a_request_is_no_bug(server: RunningServer, sent: str, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(sent.encode())
        time.sleep(0.1)
    time.sleep(0.1)
    assert httpx.get(f"{server.url}/nowhere").status_code == 404
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_stopping_ends_every_answer_in_words(application: Application) -> None:
    answers: dict[str, httpx.Response] = {}
    app = create_app(application, [API])
    with running(app, grace_seconds=0.2) as server:

        def ask(path: str) -> None:
            answers[path] = httpx.get(f"{server.url}{path}", timeout=30)

        threads = [threading.Thread(target=ask, args=(path,)) for path in ("/endless", "/silent")]
        for thread in threads:
            thread.start()
        soon(lambda: len(app.ctx.running) == 2)
        server.stop()
        for thread in threads:
            thread.join(timeout=30)
    error = {"error": "the server is being stopped", "code": "server-stopping", "kind": "infrastructure"}
    assert [json.loads(line) for line in answers["/endless"].text.splitlines()] == [{"piece": 1}, error]
    assert (answers["/silent"].status_code, answers["/silent"].json()) == (503, error)


def test_half_characters_are_replaced(client: httpx.Client) -> None:
    answer = client.post("/echo", content=rb'{"a": ["\ud800 and \ud83d\ude00"], "\udfff": 1}')
    assert answer.json() == {"a": ["\ufffd and \U0001f600"], "\ufffd": 1}


def test_a_bug_is_logged_with_its_request(client: httpx.Client, caplog: pytest.LogCaptureFixture) -> None:
    client.get("/bug", headers={"X-Request-Id": "mine-3"})
    (record,) = [each for each in caplog.records if each.name == "mlxbuild.serve"]
    event: Any = record.msg
    assert (event["event"], event["request_id"]) == ("bug", "mine-3")
    assert isinstance(event["exc_info"], ZeroDivisionError)
