"""What listens where a server should, and never comes to the end of an answer, is waited for within bounds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Event, Thread

import pytest

from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.core.home import Home
from mlxbuild.serving import client
from mlxbuild.serving.client import NoServer, Server
from tests.loopback_server import LoopbackServer

VERSION = json.dumps({"version": "0.33.0", "mlxbuild": "0.1.0"}).encode()
Write = Callable[[bytes], object]


def drip_header(write: Write, ended: Event) -> None:
    write(b"HTTP/1.1 200 OK\r\nx: ")
    drip(write, ended)


def drip_body(write: Write, ended: Event) -> None:
    write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{")
    drip(write, ended)


def drip(write: Write, ended: Event) -> None:
    while not ended.wait(0.02):
        write(b" ")


def say_nothing(_: Write, ended: Event) -> None:
    ended.wait()


def pour(write: Write, ended: Event) -> None:
    write(b"HTTP/1.1 200 OK\r\n\r\n[")
    while not ended.is_set():
        write(b" " * 1_000_000)


def redirect_to_itself(write: Write, _: Event) -> None:
    write(b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n")


def nest_deeply(write: Write, _: Event) -> None:
    write(b"HTTP/1.1 500 Oh\r\ncontent-type: application/json\r\ncontent-length: 200000\r\n\r\n" + b"[" * 200_000)


WAYS = (drip_header, drip_body, say_nothing, pour, redirect_to_itself, nest_deeply)


@pytest.fixture
def stuck(request: pytest.FixtureRequest) -> Iterator[tuple[int, set[str]]]:
    """The port of something that answers in a way of its own, and the paths that it answers as ours would."""
    ended, sound = Event(), set[str]()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path in sound:
                self.send_response(200)
                self.send_header("content-length", str(len(VERSION)))
                self.end_headers()
                self.wfile.write(VERSION)
            else:
                request.param(self.wfile.write, ended)

        def log_message(self, *_: object) -> None: ...

    with LoopbackServer(("127.0.0.1", 0), Answers) as server:
        serving = Thread(target=server.serve_forever, daemon=True)
        serving.start()
        yield server.server_port, sound
        ended.set()
        server.shutdown()
        serving.join(10)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("stuck", WAYS, indirect=True)
def test_what_is_no_server_of_ours_is_not_waited_for(
    stuck: tuple[int, set[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "GREETING_SECONDS", 0.3)
    monkeypatch.setattr(client, "LONGEST_BYTES", 8_000_000)
    monkeypatch.setenv("MLXBUILD_HOST", f"127.0.0.1:{stuck[0]}")
    assert Server.find(Home(tmp_path)) is None
    with pytest.raises(NoServer) as caught:
        Server.require(Home(tmp_path))
    assert "another program listens there" in str(caught.value.hint)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("stuck", WAYS, indirect=True)
def test_a_server_that_gets_stuck_later_is_told_of(
    stuck: tuple[int, set[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "QUESTION_SECONDS", 0.3)
    monkeypatch.setattr(client, "LONGEST_BYTES", 8_000_000)
    monkeypatch.setenv("MLXBUILD_HOST", f"127.0.0.1:{stuck[0]}")
    stuck[1].add("/api/version")
    server = Server.require(Home(tmp_path))
    begun = time.monotonic()
    with pytest.raises(MlxbuildError) as caught:
        server.get("/api/ps")
    assert caught.value.code == "no-server"
    assert caught.value.hint is not None
    assert time.monotonic() - begun < 30
