"""Clients that take their time: how long each part of a request may take, and what becomes of the slow ones."""

from __future__ import annotations

import json
import socket
import time

import pytest

from mlxbuild.runtime.residency.setting_origins import SettingOrigins
from tests.runtime.server.connections.conftest import Start
from tests.runtime.server.connections.wire import answers, ask, connect, until_closed
from tests.runtime.server.running import RunningServer, soon

HEAD = b"POST /api/show HTTP/1.1\r\nhost: localhost\r\n"
VERSION = b"GET /api/version HTTP/1.1\r\nhost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def hasty(start: Start) -> RunningServer:
    """A server that waits for nobody."""
    places = SettingOrigins({"header_seconds": "VARIABLE", "body_rate": "VARIABLE"})
    bounds = {"header_seconds": 0.4, "idle_seconds": 0.4, "body_bytes_per_second": 10_000, "body_grace_seconds": 0.4}
    return start(**bounds, places=places)


@pytest.fixture(scope="module")
def patient(start: Start) -> RunningServer:
    """A server with half a second for what is read off, and long times for all else."""
    return start(header_seconds=60, idle_seconds=0.3)


@pytest.fixture(scope="module")
def impatient(start: Start) -> RunningServer:
    """A server with little time and place for bodies."""
    return start(body_seconds=0.2, body_limit_bytes=1000)


def drip(connection: socket.socket, piece: bytes) -> bytes:
    """Send a byte of it again and again until the connection is closed; what came back."""
    for _ in range(600):
        try:
            connection.sendall(piece)
            connection.settimeout(0.05)
            return connection.recv(65536)
        except TimeoutError:
            pass
        except ConnectionError:
            return b""
    raise AssertionError("the server put up with it for ever")


def test_a_head_byte_by_byte(hasty: RunningServer) -> None:
    with connect(hasty) as connection:
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nx: ")
        [answer] = answers(drip(connection, b"y"))
    assert (answer.status, answer.headers["connection"]) == (408, "close")
    error = json.loads(answer.body)["error"]
    assert error["code"] == "request-too-slow"
    assert "`serve.header_seconds` in VARIABLE, now 0.4" in error["message"]


def test_empty_lines_are_no_head(hasty: RunningServer) -> None:
    with connect(hasty) as connection:
        [answer] = answers(drip(connection, b"\r\n"))
    assert answer.status == 408


def test_a_next_head_byte_by_byte(hasty: RunningServer) -> None:
    with connect(hasty) as connection:
        connection.sendall(VERSION)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        [answer] = answers(drip(connection, b"G"))
    assert answer.status == 408


@pytest.mark.parametrize("sent", [b"", VERSION])
def test_nothing_is_said(hasty: RunningServer, sent: bytes) -> None:
    with connect(hasty) as connection:
        connection.sendall(sent)
        read = until_closed(connection)  # it ends without another word
    assert [answer.status for answer in answers(read)] == ([200] if sent else [])


def test_idle_connections_have_a_time_of_their_own(patient: RunningServer) -> None:
    with connect(patient) as connection:
        connection.sendall(VERSION)
        assert len(answers(until_closed(connection))) == 1


@pytest.mark.parametrize("framing", [b"content-length: 5000\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n"])
def test_a_body_byte_by_byte(hasty: RunningServer, framing: bytes) -> None:
    with connect(hasty) as connection:
        connection.sendall(HEAD + framing)
        [answer] = answers(drip(connection, b"1\r\nx\r\n" if b"chunked" in framing else b"x"))
    assert (answer.status, answer.headers["connection"]) == (408, "close")
    error = json.loads(answer.body)
    assert "more slowly than 10000 bytes a second" in error["error"]
    assert "`serve.body_rate` in VARIABLE, now 10000" in error["hint"]


def test_a_body_that_comes_fast_enough_may_take_longer(hasty: RunningServer) -> None:
    with connect(hasty) as connection:
        connection.sendall(HEAD + b"connection: close\r\ncontent-length: 20000\r\n\r\n")
        for _ in range(20):
            connection.sendall(b" " * 1000)
            time.sleep(0.05)
        [answer] = answers(until_closed(connection))
    assert answer.status == 400
    assert "missing" in json.loads(answer.body)["error"]


@pytest.mark.parametrize(
    ("path", "framing", "sent", "status"),
    [
        (b"/api/show", b"content-length: 20000", b"", 413),
        (b"/api/show", b"transfer-encoding: chunked", b"1000\r\n" + b"x" * 0x1000 + b"\r\n", 413),
        (b"/api/show", b"content-length: 20", b"{", 408),
        (b"/api/blobs/sha256:" + b"0" * 64, b"content-length: 20", b"{", 408),
    ],
)
def test_what_follows_a_refused_body_is_no_part_of_it(
    impatient: RunningServer, path: bytes, framing: bytes, sent: bytes, status: int
) -> None:
    with connect(impatient) as connection:
        connection.sendall(HEAD.replace(b"/api/show", path) + framing + b"\r\n\r\n" + sent)
        [answer] = answers(until_closed(connection))
    assert (answer.status, answer.headers["connection"]) == (status, "close")


def test_the_answer_can_be_read_after_all_of_a_refused_body_is_sent(impatient: RunningServer) -> None:
    with connect(impatient) as connection:
        connection.sendall(HEAD + b"content-length: 20000000\r\n\r\n" + b"x" * 20_000_000)
        assert [answer.status for answer in answers(until_closed(connection))] == [413]


def test_the_answer_can_be_read_after_all_of_a_refused_head_is_sent(impatient: RunningServer) -> None:
    with connect(impatient) as connection:
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nx: " + b"y" * 3_000_000)
        assert [answer.status for answer in answers(until_closed(connection))] == [431]


@pytest.mark.parametrize(("path", "status"), [(b"/api/show", 413), (b"/nowhere", 404)])
def test_a_body_that_nobody_wants(start: Start, monkeypatch: pytest.MonkeyPatch, path: bytes, status: int) -> None:
    for module in ("exchange", "lingering"):
        monkeypatch.setattr(f"mlxbuild.runtime.server.connections.{module}.LINGERING_SECONDS", 0.2)
    server = start(body_limit_bytes=1000)
    with connect(server) as connection:
        connection.sendall(HEAD.replace(b"/api/show", path) + b"content-length: 1000000000000\r\n\r\n")
        read = bytearray()
        for _ in range(1000):
            try:
                connection.sendall(b"x" * 10_000)
                connection.settimeout(0.01)
                if not (piece := connection.recv(65536)):
                    break
                read += piece
            except TimeoutError:
                pass
            except ConnectionError:
                break
        else:
            raise AssertionError("the server reads for ever")
    assert [answer.status for answer in answers(bytes(read))] == [status]


def test_the_refused_are_told_of(hasty: RunningServer) -> None:
    seen = len(hasty.observed)
    ask(hasty, b"GET /v1/models HTTP/1.1\r\n\r\n")
    soon(lambda: len(hasty.observed) > seen)
    observed = hasty.observed[-1]
    assert (observed.method, observed.path, observed.status) == ("GET", "/v1/models", 400)
    assert (observed.error, observed.client) == ("malformed-request", "127.0.0.1")
