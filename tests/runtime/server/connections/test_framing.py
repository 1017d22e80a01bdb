"""What is a request, and where it ends: byte by byte, as RFC 9112 says."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.runtime.server.bodies.content_coding import decoder
from mlxbuild.runtime.server.connections.head import read_head, told_request_line
from mlxbuild.runtime.server.failures import InvalidRequest
from tests.runtime.server.connections.wire import Answer, answers, ask, connect, until_closed
from tests.runtime.server.running import RunningServer

HOST = b"host: localhost\r\n"
LAST = b"connection: close\r\n"
LOCALHOST = HOST + LAST
VERSION = b"GET /api/version HTTP/1.1\r\n" + LOCALHOST + b"\r\n"


def post(path: str, body: bytes, *more: str) -> bytes:
    """A request that is its connection's last."""
    lines = "".join(f"{line}\r\n" for line in more)
    return f"POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{lines}\r\n".encode() + body


def only(found: list[Answer]) -> Answer:
    """The only one."""
    assert len(found) == 1
    return found[0]


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"GET /api/version HTTP/1.1\r\n\r\n", 400, "malformed-request"),
        (b"GET /api/version HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n\r\n", 400, "malformed-request"),
        (b"GET /api/version HTTP/1.1\r\nhost: [::1]evil.com\r\n\r\n", 400, "malformed-request"),
        (b"GET /api/version HTTP/1.1\r\nhost : localhost\r\n\r\n", 400, "malformed-request"),
        (b"GET /api/version HTTP/1.1\r\nhost: localhost\r\n folded\r\n\r\n", 400, "malformed-request"),
        (b"GET /api/version HTTP/1.1\r\nhost: localhost\r\nx: a\0b\r\n\r\n", 400, "malformed-request"),
        (b"GET /api/version HTTP/1.1\r\nhost: localhost\r\nx: a\nb: c\r\n\r\n", 400, "malformed-request"),
        (b"GET /\0 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "malformed-request"),
        (b"GET /api/%00 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "malformed-request"),
        (b"GET /api/%zz HTTP/1.1\r\n" + HOST + b"\r\n", 400, "malformed-request"),
        (b"GET /api/% HTTP/1.1\r\n" + HOST + b"\r\n", 400, "malformed-request"),
        (b"GET /api/%c0%af HTTP/1.1\r\n" + HOST + b"\r\n", 400, "malformed-request"),
        (b"GET /api/\xc3\xa4 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "malformed-request"),
        (b"GET ftp://localhost/ HTTP/1.1\r\n" + HOST + b"\r\n", 400, "malformed-request"),
        (b"GET http://a@localhost/ HTTP/1.1\r\n" + HOST + b"\r\n", 400, "malformed-request"),
        (b"GET http://evil.com/api/version HTTP/1.1\r\n" + LOCALHOST + b"\r\n", 403, "forbidden"),
        (b"CONNECT localhost:1 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "malformed-request"),
        (b"NOBODYS / HTTP/1.1\r\n" + HOST + b"\r\n", 501, "unknown-method"),
        (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505, "http-version-not-supported"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "http-version-not-supported"),
        (b"GET /\r\n\r\n", 505, "http-version-not-supported"),
        (b"POST /api/show HTTP/1.1\r\n" + HOST + b"content-length: 2\r\ncontent-length: 2\r\n\r\n{}", 400, None),
        (b"POST /api/show HTTP/1.1\r\n" + HOST + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}", 400, None),
        (b"POST /api/show HTTP/1.1\r\n" + HOST + b"content-length: 2, 2\r\n\r\n{}", 400, None),
        (b"POST /api/show HTTP/1.1\r\n" + HOST + b"content-length: +2\r\n\r\n{}", 400, None),
        (b"POST /api/show HTTP/1.1\r\n" + HOST + b"content-length: -2\r\n\r\n{}", 400, None),
        (
            b"POST /api/show HTTP/1.1\r\n" + HOST + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "malformed-request",
        ),
        (
            b"POST /api/show HTTP/1.1\r\n" + HOST + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            501,
            "transfer-coding-not-supported",
        ),
        (b"POST /api/show HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400, "malformed-request"),
        (post("/api/show", b"0x2\r\n{}\r\n0\r\n\r\n", "transfer-encoding: chunked"), 400, "malformed-request"),
        (post("/api/show", b"1\r\n{}\r\n0\r\n\r\n", "transfer-encoding: chunked"), 400, "malformed-request"),
        (post("/api/show", b"2\r\n{}\r\n0\r\nx: y\r\n\r\n", "transfer-encoding: chunked"), 400, "malformed-request"),
        (b"GET /api/version HTTP/1.1\nhost: localhost\n\n", 400, "malformed-request"),
        (b"\n\nGET /api/version HTTP/1.1\r\n" + HOST, 400, "malformed-request"),
        (b"GET /api/version HTTP/1.1\rhost: localhost\r\r", 400, "malformed-request"),
        (post("/api/show", b"{}", "content-length: 2", "expect: the-unexpected"), 417, "expectation-failed"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"x: " + b"y" * 17_000 + b"\r\n\r\n", 431, "header-too-large"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"x: " + b"y" * 17_000, 431, "header-too-large"),
        (b"GET /" + b"y" * 17_000, 431, "header-too-large"),
    ],
)
def test_what_is_refused(server: RunningServer, sent: bytes, status: int, code: str | None) -> None:
    refused = only(ask(server, sent))
    assert refused.status == status
    assert refused.headers["connection"] == "close"
    assert refused.headers["x-request-id"]
    told = json.loads(refused.body)
    assert told["error"]
    assert told["kind"] == "user"
    assert code in (None, told["code"])


@pytest.mark.parametrize(
    "sent",
    [
        VERSION,
        b"\r\n\r\n" + VERSION,
        b"GET http://localhost:80/api/version HTTP/1.1\r\n" + LOCALHOST + b"\r\n",
        b"GET http://localhost/api/version?x HTTP/1.1\r\nhost: evil.com\r\n" + LAST + b"\r\n",
        b"GET /api/version HTTP/1.0\r\n\r\n",
        b"GET /api/version HTTP/1.1\r\nhost:\r\n" + LAST + b"\r\n",
        b"GET /api/version HTTP/1.1\r\n" + LOCALHOST + b"upgrade: h2c\r\n\r\n",
        b"GET /api/version HTTP/1.1\r\n" + LOCALHOST + b"upgrade: websocket\r\n\r\n",
        b"GET /api/%76ersion HTTP/1.1\r\n".replace(b"%76", b"v") + LOCALHOST + b"\r\n",
    ],
)
def test_what_is_answered(server: RunningServer, sent: bytes) -> None:
    answer = only(ask(server, sent))
    assert (answer.status, json.loads(answer.body)["mlxbuild"]) == (200, "0.1.0")
    assert "alt-svc" not in answer.headers
    assert answer.headers["connection"] == "close"


def test_the_shortest_url(server: RunningServer) -> None:
    assert only(ask(server, b"GET http://localhost HTTP/1.1\r\n" + LOCALHOST + b"\r\n")).body == b"Ollama is running"


def test_requests_after_each_other_on_one_connection(server: RunningServer) -> None:
    body = b"POST /api/show HTTP/1.1\r\n" + HOST + b"content-length: 2\r\n\r\n{}"
    chunked = (
        b"POST /api/show HTTP/1.1\r\n" + HOST + b"transfer-encoding: Chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\n\r\n"
    )
    head = b"HEAD /api/version HTTP/1.1\r\n" + HOST + b"\r\n"
    unread = b"POST /nowhere HTTP/1.1\r\n" + HOST + b"content-length: 5000\r\n\r\n" + b"x" * 5000
    options = b"OPTIONS /api/version HTTP/1.1\r\n" + HOST + b"\r\n"
    found = ask(server, body + chunked + unread + options + body + VERSION)
    assert [answer.status for answer in found] == [400, 400, 404, 204, 400, 200]
    assert found[0].body == found[1].body == found[4].body
    assert {"GET", "HEAD"} <= set(found[3].headers["allow"].split(", "))
    one = only(ask(server, head.replace(b"\r\n\r\n", b"\r\n" + LAST + b"\r\n")))
    assert (one.status, one.body) == (200, b"")
    assert int(one.headers["content-length"]) > 10


def test_byte_by_byte(server: RunningServer) -> None:
    with connect(server) as connection:
        for byte in VERSION:
            connection.sendall(bytes([byte]))
        assert only(answers(until_closed(connection))).status == 200


def test_old_clients_get_no_chunks(server: RunningServer) -> None:
    body = b'{"model": "nobody.example/x", "insecure": true}'
    sent = b"POST /api/pull HTTP/1.0\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    answer = only(ask(server, sent))
    assert "transfer-encoding" not in answer.headers
    assert answer.headers["connection"] == "close"
    lines = [json.loads(line) for line in answer.body.splitlines()]
    assert lines[0] == {"status": "pulling manifest"}
    assert "error" in lines[-1]


def test_the_body_is_asked_for_only_if_it_is_wanted(server: RunningServer) -> None:
    with connect(server) as connection:
        connection.sendall(post("/api/show", b"", "content-length: 2", "expect: 100-continue"))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert only(answers(until_closed(connection))).status == 400
    refused = only(ask(server, post("/api/show", b"", "content-length: 20000", "expect: 100-continue")))
    assert (refused.status, refused.interim, refused.headers["connection"]) == (413, (), "close")
    nowhere = only(ask(server, post("/nowhere", b"", "content-length: 2", "expect: 100-continue")))
    assert (nowhere.status, nowhere.interim) == (404, ())


def compressed(body: bytes, coding: str = "gzip") -> bytes:
    return post("/api/show", body, f"content-length: {len(body)}", f"content-encoding: {coding}")


QUESTION = b'{"model": "nobody"}'


@pytest.mark.parametrize(
    ("sent", "status", "told"),
    [
        (compressed(gzip.compress(QUESTION)), 404, "not found"),
        (compressed(gzip.compress(QUESTION[:5]) + gzip.compress(QUESTION[5:]), "X-Gzip"), 404, "not found"),
        (compressed(QUESTION, "identity"), 404, "not found"),
        (compressed(gzip.compress(b" " * 10_000_000)), 413, "more than 10000 bytes"),
        (compressed(gzip.compress(QUESTION)[:-3]), 400, "ends too early"),
        (compressed(gzip.compress(QUESTION) + b"x" * 20), 400, "not gzip"),
        (compressed(QUESTION), 400, "not gzip"),
        (compressed(gzip.compress(b"") * 400 + gzip.compress(QUESTION)), 404, "not found"),
        (compressed(gzip.compress(b"") * 450 + gzip.compress(QUESTION)[:9]), 400, "ends too early"),
        (compressed(b""), 400, "missing request body"),
        (compressed(zlib.compress(QUESTION), "deflate"), 415, "deflate"),
        (compressed(gzip.compress(gzip.compress(QUESTION)), "gzip, gzip"), 415, "gzip, gzip"),
        (compressed(QUESTION, "br"), 415, "br"),
    ],
)
def test_content_codings(server: RunningServer, sent: bytes, status: int, told: str) -> None:
    answer = only(ask(server, sent))
    assert (answer.status, told in json.loads(answer.body)["error"]) == (status, True)
    assert ("gzip" in answer.headers.get("accept-encoding", "")) is (status == 415)


def test_members_of_gzip_have_a_bound() -> None:
    """Empty ones would take time without any bytes that could be counted."""
    text = b"".join(decoder("gzip").pieces(gzip.compress(b"x" * 100) * 1000))
    assert text == b"x" * 100_000
    with pytest.raises(InvalidRequest, match="1,000 gzip members"):
        list(decoder("gzip").pieces(gzip.compress(b"") * 300_000))


def test_blobs_have_a_bound(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def path(content: bytes) -> str:
        return f"/api/blobs/sha256%3A{hashlib.sha256(content).hexdigest()}"

    def chunked(content: bytes) -> bytes:
        return b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)

    small, large = b"x" * 15_000, b"y" * 25_000  # the one over the bound of other bodies, the other one over theirs
    assert only(ask(server, post(path(small), small, f"content-length: {len(small)}"))).status == 201
    assert only(ask(server, post(path(large), b"", "content-length: 25000"))).status == 413  # before a byte has come
    assert only(ask(server, post(path(large), chunked(large), "transfer-encoding: chunked"))).status == 413
    hint = json.loads(only(ask(server, post(path(large), b"", "content-length: 25000"))).body)["hint"]
    assert hint == "raise `serve.blob_limit` in config.yaml, now 20 kB"
    packed = gzip.compress(b"z" * 15_000)
    sent = post(path(b"z" * 15_000), packed, f"content-length: {len(packed)}", "content-encoding: gzip")
    assert only(ask(server, sent)).status == 201
    monkeypatch.setattr("mlxbuild.runtime.server.ollama.blobs.LEFT_FREE_BYTES", 2**60)
    full = only(ask(server, post(path(b"a"), b"", "content-length: 1")))
    assert (full.status, json.loads(full.body)["code"]) == (507, "disk-full")
    full = only(ask(server, post(path(b"a" * 15_000), chunked(b"a" * 15_000), "transfer-encoding: chunked")))
    assert (full.status, json.loads(full.body)["code"]) == (507, "disk-full")


@pytest.mark.parametrize(
    ("path", "header", "form"),
    [
        ("/v1/nowhere", "x: y", "openai"),
        ("/v1", "x: y", "openai"),
        ("/v1/nowhere", "anthropic-version: 2023-06-01", "anthropic"),
        ("/v1/messages/batches", "anthropic-version: 2023-06-01", "anthropic"),
        ("/v1/messages", "anthropic-version: 2023-06-01", "anthropic"),
        ("/v1/models", "x: y", "openai"),
        ("/api/nowhere", "anthropic-version: 2023-06-01", "native"),
        ("/v1x", "x: y", "native"),
        ("/", "x: y", "native"),
        ("/metrics", "x: y", "native"),
    ],
)
def test_absent_routes_are_told_of_in_the_words_of_their_api(
    server: RunningServer, path: str, header: str, form: str
) -> None:
    answer = only(ask(server, f"PUT {path} HTTP/1.1\r\n{header}\r\n".encode() + LOCALHOST + b"\r\n"))
    exists = path in ("/v1/messages", "/v1/models", "/", "/metrics")
    assert answer.status == (405 if exists else 404)
    assert ("allow" in answer.headers) is exists
    told = json.loads(answer.body)
    if form == "native":
        assert told["error"].startswith(str(answer.status))
    else:
        assert (told.get("type") == "error") is (form == "anthropic")
        assert ("param" in told["error"]) is (form == "openai")
        assert told["error"]["message"]


def test_errors_in_heads_are_told_in_the_words_of_their_api_too(server: RunningServer) -> None:
    assert json.loads(only(ask(server, b"GET /v1/models HTTP/1.1\r\n\r\n")).body)["error"]["type"]
    assert json.loads(only(ask(server, b"GET /v1/messages HTTP/1.1\r\n\r\n")).body)["type"] == "error"


_STARTS = (b"GET ", b"POST ", b"/", b"/api", b"%00", b"%", b"*", b"http://", b"a@", b"?", b"#", b"\0", b"\xff", b" ")
_VERSIONS = (b" HTTP/1.1", b" HTTP/1.0", b" HTTP/9.9", b"\r\n", b"\n", b"\t", b":", b"5", b"localhost", b"[::1]")
_NAMES = (
    b"host: ",
    b"content-length: ",
    b"transfer-encoding: ",
    b"chunked",
    b"expect: ",
    b"100-continue",
    b"upgrade: ",
)
_PIECES = st.sampled_from(_STARTS + _VERSIONS + _NAMES)


@given(st.one_of(st.lists(_PIECES, max_size=25).map(b"".join), st.binary(max_size=60)))
@example(b"GET * HTTP/1.1\r\nhost: a")
@example(b"OPTIONS * HTTP/1.1\r\nhost: a")
@example(b"GET /#a HTTP/1.1\r\nhost: a")
def test_every_head_is_read_or_refused(written: bytes) -> None:
    method, target = told_request_line(written)
    assert method.isascii()
    assert target == "*" or target.startswith("/")
    try:
        head = read_head(written + b"\r\n\r\n")
    except MlxbuildError:
        return
    assert head.method.isupper()
    assert head.target == "*" or (head.target.startswith("/") and head.target.isprintable())
    assert not (head.is_chunked and head.content_length is not None)
    assert [name for name, _ in head.fields].count("host") <= 1
