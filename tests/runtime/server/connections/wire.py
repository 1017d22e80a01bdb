"""Speaks with a server byte by byte."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from tests.runtime.server.running import RunningServer


@dataclass(frozen=True)
class Answer:
    """One response, as it came."""

    status: int
    headers: dict[str, str]
    body: bytes
    interim: tuple[int, ...] = ()
    """The statuses of those that came before it."""


def connect(server: RunningServer) -> socket.socket:
    """A connection to it."""
    return socket.create_connection(("127.0.0.1", server.port), timeout=8)


def answers(data: bytes) -> list[Answer]:
    """All responses of a connection that was closed; those of unknown length end with it."""
    found: list[Answer] = []
    interim: list[int] = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        line, *lines = head.decode().split("\r\n")
        status = int(line.split(" ")[1])
        if status < 200:
            interim.append(status)
            continue
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers["content-length"]) if "content-length" in headers else None
        if status == 204 or (length is not None and not data):  # the latter of HEAD
            body = b""
        elif length is None:
            body, data = data, b""
        else:
            body, data = data[:length], data[length:]
        found.append(Answer(status, headers, body, tuple(interim)))
        interim = []
    return found


def until_closed(connection: socket.socket) -> bytes:
    """All that comes."""
    read = bytearray()
    while piece := connection.recv(65536):
        read += piece
    return bytes(read)


def ask(server: RunningServer, *pieces: bytes) -> list[Answer]:
    """What a server says to bytes that are sent on one connection, until it closes it."""
    with connect(server) as connection:
        for piece in pieces:
            connection.sendall(piece)
        return answers(until_closed(connection))
