"""What is asked of a renderer and what it answers, and how both go over a socket: four bytes of length, then a body.

Requests are written by `marshal`, which keeps tuples, keys of any kind and halves of surrogate pairs as they are. It is
no format to read from somebody who is not trusted, so answers, which a template might have forged, are text and JSON.
"""

from __future__ import annotations

import json
import marshal
import socket
import struct
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from mlxbuild.registry.core.printable import printable
from mlxbuild.runtime.rendering.limits import Limits

LONGEST_BYTES = 256 * 1024 * 1024
"""Of one message; above what any API takes as a body."""
_LENGTH = struct.Struct(">I")
_LONGEST_MESSAGE = 500
"""Of a failure, in characters: a template may raise a text of any length."""
_TEXT, _NAMES, _FAILURE = b"t", b"n", b"f"
_RENDER, _TRY = b"r", b"s"


class Fault(StrEnum):
    """What a template does wrong."""

    BROKEN = "broken"
    ESCAPES = "escapes"
    REFUSES = "refuses"
    COSTLY = "costly"


class Failure(Exception):
    """A template that cannot be compiled, or not rendered with these variables. `line` counts from one.

    The message is a template's own in part, so it is cut, and control characters in it are written as escapes.
    """

    def __init__(self, fault: Fault, message: str, line: int | None = None) -> None:
        written = printable(message[: _LONGEST_MESSAGE + 1], kept="")
        self.message = written if len(written) <= _LONGEST_MESSAGE else f"{written[: _LONGEST_MESSAGE - 1]}…"
        super().__init__(self.message)
        self.fault = fault
        self.line = line


@dataclass(frozen=True, slots=True)
class Request:
    """A template to be compiled, and rendered where there are variables. Its whole text, as a renderer may be new."""

    text: str
    limits: Limits
    variables: Mapping[str, Any] | None = None
    """Plain data; None to be told which ones the template reads."""
    now: datetime | None = None
    """What `strftime_now` writes."""

    def encode(self) -> bytes:
        """As bytes.

        Raises:
            ValueError: it nests too deeply, holds what is no plain data, or is too long.
        """
        now = None if self.now is None else self.now.isoformat()
        plain: Any = (self.text, astuple(self.limits), self.variables, now)
        body = _RENDER + marshal.dumps(plain)
        if len(body) > LONGEST_BYTES:
            raise ValueError(f"{len(body):,} bytes are more than the {LONGEST_BYTES:,} that are rendered")
        return body


@dataclass(frozen=True, slots=True)
class Trial:
    """A tokenizer's way of splitting texts, to be tried out; see `trial`. The answer is an empty text."""

    splitting: str
    """Its normalizer and pre-tokenizer, as JSON."""
    limits: Limits

    def encode(self) -> bytes:
        """As bytes."""
        return _TRY + marshal.dumps((self.splitting, astuple(self.limits)))


def decode_request(body: bytes) -> Request | Trial:
    """What the `encode` of either gave."""
    if body[:1] == _TRY:
        splitting, limits = marshal.loads(body[1:])
        return Trial(splitting, Limits(*limits))
    text, limits, variables, now = marshal.loads(body[1:])
    return Request(text, Limits(*limits), variables, None if now is None else datetime.fromisoformat(now))


def too_long(limits: Limits) -> str:
    """What is said of a template whose time is over, by whoever ended it."""
    return f"the chat template takes more than {limits.seconds:g} s of processor time"


def encode_answer(answer: str | list[str] | Failure) -> bytes:
    """A prompt, names of variables, or a failure."""
    match answer:
        case str():
            return _TEXT + answer.encode("utf-8", "surrogatepass")
        case list():
            return _NAMES + json.dumps(answer).encode()
        case Failure():
            return _FAILURE + json.dumps([answer.fault, answer.message, answer.line]).encode()


def decode_answer(body: bytes) -> str | list[str]:
    """What `encode_answer` was given.

    Raises:
        Failure: that is what it was.
        ValueError: it is no answer.
    """
    kind, content = body[:1], body[1:]
    if kind == _TEXT:
        return content.decode("utf-8", "surrogatepass")
    document = json.loads(content)
    if kind == _NAMES:
        return [str(name) for name in document]
    fault, message, line = document
    raise Failure(Fault(fault), str(message), line)


def send(connection: socket.socket, body: bytes) -> None:
    """Send one message.

    Raises:
        OSError: the other end is gone, or takes nothing in the socket's time.
    """
    connection.sendall(_LENGTH.pack(len(body)) + body)


def receive(connection: socket.socket) -> bytes | None:
    """The next message; None when the other end is gone.

    Raises:
        OSError: it did not come in the socket's time, or is too long.
    """
    length = _exactly(connection, _LENGTH.size)
    if length is None:
        return None
    (size_bytes,) = _LENGTH.unpack(length)
    if size_bytes > LONGEST_BYTES:
        raise OSError(f"a message of {size_bytes} bytes is announced")
    return _exactly(connection, size_bytes)


def _exactly(connection: socket.socket, size_bytes: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size_bytes:
        part = connection.recv(min(size_bytes - len(parts), 1024 * 1024))
        if not part:
            return None
        parts += part
    return bytes(parts)
