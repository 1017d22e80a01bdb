"""A proxy between client and registry with switches for everything that goes wrong on the way.

with FaultProxy(registry.host) as proxy:
    proxy.faults.append(Fault("GET", "/blobs/", truncate=1000, times=1))
    remote = open_remote(f"{proxy.host}/acme/hello")
"""

from __future__ import annotations

import dataclasses
import http.client
import json
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Self

from tests.loopback_server import LoopbackServer

_PIECE = 64 * 1024
_SIP = 512
DRIP_SECONDS = 0.02


@dataclasses.dataclass
class Fault:
    """What goes wrong with requests of a method whose path (with its query) holds a text, for some times."""

    method: str
    path: str = ""
    times: int = 1
    skip: int = 0
    """So many matching requests pass unharmed first."""
    status: int | None = None
    """Answer this in place of the registry."""
    code: str = "UNKNOWN"
    body: bytes | None = None
    """What to answer with that status, in place of an error of that code."""
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    """Headers to set in the answer, in place of the registry's."""
    reset: int | None = None
    """Reset the connection after so many bytes of the answer's body (-1: without any answer)."""
    truncate: int | None = None
    """Close the connection in good order after so many bytes of the answer's body."""
    stall: int | None = None
    """Send nothing more after so many bytes of the answer's body, until the proxy ends."""
    silent: bool = False
    """Take the request, and answer nothing until the proxy ends."""
    drip: int | None = None
    """Send a byte every `DRIP_SECONDS` after so many bytes of the answer's body, until the proxy ends."""
    sip: int | None = None
    """Take a piece of the request's body every `DRIP_SECONDS` after so many bytes of it, until the proxy ends."""
    corrupt: int | None = None
    """Change the byte at this place of the answer's body, or of the request's for other methods than GET."""
    cut_request: int | None = None
    """Take so many bytes of the request's body, hand them to the registry, then reset both connections."""
    keep_request: int | None = None
    """Hand the registry so many bytes of the request's body as if they were all, and reset the client's connection.
    When the client asks how far its upload is, it is told, as by a registry that keeps parts of chunks."""
    no_range: bool = False
    """Hide the request's `Range` from the registry."""


@dataclasses.dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    method: str
    path: str
    range: str | None
    authorization: str | None


class FaultProxy:
    """A reverse proxy on a loopback port. `seen` holds all requests in order."""

    def __init__(self, upstream: str) -> None:
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self.upstream = upstream
        self.ended = threading.Event()
        self.kept: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()
        proxy = self

        class Handler(_Relay):
            owner = proxy

        self._server = LoopbackServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def asked(self, method: str, path: str = "") -> list[Seen]:
        """Requests that arrived, by method and a part of the path."""
        return [seen for seen in self.seen if seen.method == method and path in seen.path]

    def take(self, method: str, path: str) -> Fault | None:
        """The next fault for a request; it is used up."""
        with self._lock:
            for fault in self.faults:
                if fault.method == method and fault.path in path and fault.times > 0:
                    if fault.skip:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    return fault
        return None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Relay(BaseHTTPRequestHandler):
    """Hands one request on, unless a fault says otherwise."""

    owner: FaultProxy
    protocol_version = "HTTP/1.1"

    def relay(self) -> None:
        """Every method."""
        length = int(self.headers.get("Content-Length") or 0)
        self.owner.seen.append(
            Seen(self.command, self.path, self.headers.get("Range"), self.headers.get("Authorization"))
        )
        fault = self.owner.take(self.command, self.path) or Fault(self.command)
        if self.command == "GET" and self.path in self.owner.kept:
            self._answer(204, self.owner.kept[self.path], b"", fault)
            return
        if fault.silent:
            self.rfile.read(length)
            self.owner.ended.wait()
            self.close_connection = True
            return
        if fault.sip is not None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SIP)
            self.rfile.read(fault.sip)
            while not self.owner.ended.wait(DRIP_SECONDS):
                self.rfile.read1(_SIP)
            self.close_connection = True
            return
        if fault.status is not None:
            self.rfile.read(length)
            error = {"errors": [{"code": fault.code, "message": "by the proxy"}]}
            body = json.dumps(error).encode() if fault.body is None else fault.body
            self._answer(fault.status, {"Content-Length": str(len(body)), **fault.headers}, body, fault)
            return
        if fault.reset == -1:
            self.rfile.read(length)
            self._reset()
            return
        upstream = http.client.HTTPConnection(self.owner.upstream, timeout=30)
        try:
            if fault.keep_request is not None:
                self._send(upstream, fault.keep_request, fault)
                answer = upstream.getresponse()
                self.owner.kept[self.path] = {name: answer.headers[name] for name in ("Location", "Range")}
                self._reset()
            elif self._send(upstream, length, fault):
                answer = upstream.getresponse()
                body = answer.read()
                self._answer(answer.status, {**dict(answer.getheaders()), **fault.headers}, body, fault)
        finally:
            upstream.close()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = relay  # noqa: N815

    def _send(self, upstream: http.client.HTTPConnection, length: int, fault: Fault) -> bool:
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() == "content-length":
                upstream.putheader(name, str(length))
            elif not (fault.no_range and name.lower() == "range"):
                upstream.putheader(name, value)
        upstream.endheaders()
        passed = 0
        while passed < length:
            piece = bytearray(self.rfile.read(min(_PIECE, length - passed)))
            if fault.cut_request is not None and passed + len(piece) >= fault.cut_request:
                upstream.send(piece[: fault.cut_request - passed])
                self._reset()
                return False
            if fault.corrupt is not None and self.command != "GET" and passed <= fault.corrupt < passed + len(piece):
                piece[fault.corrupt - passed] ^= 1
            upstream.send(piece)
            passed += len(piece)
        return True

    def _answer(self, status: int, headers: dict[str, str], body: bytes, fault: Fault) -> None:
        if fault.corrupt is not None and self.command == "GET" and fault.corrupt < len(body):
            body = body[: fault.corrupt] + bytes([body[fault.corrupt] ^ 1]) + body[fault.corrupt + 1 :]
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
        self.end_headers()
        stop = next((at for at in (fault.reset, fault.truncate, fault.stall, fault.drip) if at is not None), None)
        if self.command != "HEAD":
            self.wfile.write(body[:stop])
        if stop is None:
            return
        self.wfile.flush()
        if fault.stall is not None:
            self.owner.ended.wait()
        for place in range(fault.drip or 0, len(body) if fault.drip is not None else 0):
            if self.owner.ended.wait(DRIP_SECONDS):
                break
            self.wfile.write(body[place : place + 1])
            self.wfile.flush()
        if fault.reset is not None:
            self._reset()
        self.close_connection = True

    def _reset(self) -> None:
        """Close so that the other side gets RST."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def handle(self) -> None:
        """One connection; a client that leaves is no matter here."""
        try:
            super().handle()
        except (OSError, ValueError):
            self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        """Nothing is told."""
