"""Frames on the runner's socket: a length of four bytes (big-endian), then a JSON message of that length."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from typing import Any

from mlxbuild.registry.core.errors import StepError
from mlxbuild.runtime.protocol import codec as plain
from mlxbuild.runtime.protocol.errors import RequestTooLarge

FRAME_LIMIT_BYTES = 128 * 1024 * 1024
"""The largest frame; larger than the largest request body of any API."""
_LENGTH = struct.Struct(">I")


class MalformedFrame(StepError):
    """The data on a runner's socket is not a valid frame: the server or the runner has a bug."""

    code = "malformed-frame"


def encode(message: list[Any]) -> bytes:
    """Encode a message as a frame.

    Raises:
        RequestTooLarge: the message is above the limit.
        TypeError, ValueError, RecursionError: the message cannot be encoded as JSON.
    """
    body = plain.to_json(message)
    if len(body) > FRAME_LIMIT_BYTES:
        raise RequestTooLarge(
            f"{len(body)} bytes are more than the {FRAME_LIMIT_BYTES} that a runner takes",
            hint="send less at once; no setting changes this limit",
        )
    return _LENGTH.pack(len(body)) + body


def decode(body: bytes) -> list[Any]:
    """Decode the message in a frame's body.

    Raises:
        MalformedFrame: the body is not a message.
    """
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedFrame(f"a frame is not JSON: {error}") from None
    if not isinstance(message, list) or not message or not isinstance(message[0], str):
        raise MalformedFrame("a frame is not a list that begins with a string")
    return message


async def receive(reader: asyncio.StreamReader) -> list[Any] | None:
    """Read the next message; None at the end of the stream.

    Raises:
        MalformedFrame: the frame is invalid, or was cut.
    """
    try:
        (size_bytes,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        return decode(await reader.readexactly(_checked(size_bytes)))
    except asyncio.IncompleteReadError as error:
        if error.partial or error.expected != _LENGTH.size:
            raise MalformedFrame("the last frame was cut") from None
        return None


def receive_blocking(connection: socket.socket) -> list[Any] | None:
    """Read the next message as `receive` does, blocking the calling thread."""
    length = _exactly(connection, _LENGTH.size)
    if not length:
        return None
    (size_bytes,) = _LENGTH.unpack(length)
    body = _exactly(connection, _checked(size_bytes))
    if len(body) != size_bytes:
        raise MalformedFrame("the last frame was cut")
    return decode(body)


def _exactly(connection: socket.socket, size_bytes: int) -> bytes:
    """Read exactly `size_bytes` bytes; empty if the other end closed before the first.

    Raises:
        MalformedFrame: the other end closed after the first.
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
