"""Frames over a socket: four bytes of length (big-endian), then that much JSON. What they say: `client`, `process`."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import Any

from mlxbuild.registry.core.errors import StepError, UserError
from mlxbuild.runtime.protocol import codec as plain

FRAME_LIMIT_BYTES = 128 * 1024 * 1024
"""Above what any API takes as a body."""
_LENGTH = struct.Struct(">I")


class MalformedFrame(StepError):
    """What came over a runner's socket is no frame; one of both ends is broken."""

    code = "malformed-frame"


class RequestTooLarge(UserError):
    """A request is larger than what a runner takes."""

    code = "request-too-large"


def encode(message: list[Any]) -> bytes:
    """A message as a frame.

    Raises:
        RequestTooLarge: it is above the limit.
        TypeError, ValueError, RecursionError: it cannot be JSON.
    """
    body = plain.to_json(message)
    if len(body) > FRAME_LIMIT_BYTES:
        raise RequestTooLarge(
            f"{len(body)} bytes are more than the {FRAME_LIMIT_BYTES} that a runner takes",
            hint="send less at once; no setting bounds it",
        )
    return _LENGTH.pack(len(body)) + body


def decode(body: bytes) -> list[Any]:
    """The message in a frame.

    Raises:
        MalformedFrame: there is none.
    """
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedFrame(f"a frame is not JSON: {error}") from None
    if not isinstance(message, list) or not message or not isinstance(message[0], str):
        raise MalformedFrame("a frame is no list that begins with a word")
    return message


async def receive(reader: asyncio.StreamReader) -> list[Any] | None:
    """The next message; None after the last.

    Raises:
        MalformedFrame: it is none, or was cut.
    """
    try:
        (size_bytes,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        return decode(await reader.readexactly(_checked(size_bytes)))
    except asyncio.IncompleteReadError as error:
        if error.partial or error.expected != _LENGTH.size:
            raise MalformedFrame("the last frame was cut") from None
        return None


def receive_blocking(connection: socket.socket) -> list[Any] | None:
    """As `receive`, for a thread that may wait."""
    length = _exactly(connection, _LENGTH.size)
    if not length:
        return None
    (size_bytes,) = _LENGTH.unpack(length)
    body = _exactly(connection, _checked(size_bytes))
    if len(body) != size_bytes:
        raise MalformedFrame("the last frame was cut")
    return decode(body)


def _exactly(connection: socket.socket, size_bytes: int) -> bytes:
    """That many bytes; none when the other end closed before the first.

    Raises:
        MalformedFrame: it closed in between.
    """
    parts = bytearray()
    while len(parts) < size_bytes:
        part = connection.recv(min(size_bytes - len(parts), 1024 * 1024))
        if not part:
            if parts:
                raise MalformedFrame("the last frame was cut")
            return b""
        parts += part
    return bytes(parts)


def _checked(size_bytes: int) -> int:
    if size_bytes > FRAME_LIMIT_BYTES:
        raise MalformedFrame(f"a frame of {size_bytes} bytes is announced, above the limit of {FRAME_LIMIT_BYTES}")
    return size_bytes
