"""The requests to a renderer and its answers, and their frames on the socket: a length of four bytes, then a body.

Requests are encoded by `marshal`, which preserves tuples, keys of any type and lone surrogates. It is not safe for data
from untrusted sources, so answers, which a template might have forged, are text and JSON.
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
"""The largest message; larger than the largest request body of any API."""
_LENGTH = struct.Struct(">I")
_LONGEST_MESSAGE = 500
"""The longest message of a failure, in characters: a template may raise one of any length."""
_TEXT, _NAMES, _FAILURE = b"t", b"n", b"f"
_RENDER, _TRY, _COMPILE, _CONVERT = b"r", b"s", b"g", b"c"


class TemplateFault(StrEnum):
    """The ways in which a template can fail."""

    BROKEN = "broken"
    ESCAPES = "escapes"
    REFUSES = "refuses"
    COSTLY = "costly"


class Failure(Exception):
    """A template cannot be compiled, or not be rendered with these variables. `line` counts from one.

    The message may come from the template, so it is cut to a maximum length and its control characters are escaped.
    """

    def __init__(self, fault: TemplateFault, message: str, line: int | None = None) -> None:
        written = printable(message[: _LONGEST_MESSAGE + 1], kept="")
        self.message = written if len(written) <= _LONGEST_MESSAGE else f"{written[: _LONGEST_MESSAGE - 1]}…"
        super().__init__(self.message)
        self.fault = fault
        self.line = line


@dataclass(frozen=True, slots=True)
class Request:
    """A template to be compiled, and rendered if there are variables. It is sent whole, as a renderer may be new."""

    text: str
    limits: Limits
    variables: Mapping[str, Any] | None = None
    """The template's variables as plain data; None asks for the names of the variables that the template reads."""
    now: datetime | None = None
    """The time that `strftime_now` formats."""

    def encode(self) -> bytes:
        """Encode the request.

        Raises:
            ValueError: the variables nest too deeply or are not plain data, or the request is too long.
        """
        now = None if self.now is None else self.now.isoformat()
        plain: Any = (self.text, astuple(self.limits), self.variables, now)
        body = _RENDER + marshal.dumps(plain)
        if len(body) > LONGEST_BYTES:
            raise ValueError(f"{len(body):,} bytes are more than the {LONGEST_BYTES:,} that can be rendered")
        return body


@dataclass(frozen=True, slots=True)
class TokenizerTrial:
    """A tokenizer's splitting of texts, to be tested by `trial`. The answer is an empty string."""

    splitting: str
    """The tokenizer's normalizer and pre-tokenizer, as JSON."""
    limits: Limits

    def encode(self) -> bytes:
        """Encode the trial."""
        return _TRY + marshal.dumps((self.splitting, astuple(self.limits)))


@dataclass(frozen=True, slots=True)
class Compilation:
    """A request to compile a grammar for trial; see `grammars`.

    The answer is an empty string, or llguidance's error message.
    """

    grammar: str
    """A Lark grammar."""
    special_tokens: tuple[tuple[int, bytes], ...]
    """The special tokens that the grammar may name, with their texts; the first one is the stop token."""
    rows: int
    """The size of the vocabulary."""
    limits: Limits

    def encode(self) -> bytes:
        """Encode the request."""
        return _COMPILE + marshal.dumps((self.grammar, self.special_tokens, self.rows, astuple(self.limits)))


@dataclass(frozen=True, slots=True)
class Conversion:
    """A request to convert a GBNF grammar to Lark; a Lark grammar is answered unchanged."""

    grammar: str
    limits: Limits

    def encode(self) -> bytes:
        """Encode the request."""
        return _CONVERT + marshal.dumps((self.grammar, astuple(self.limits)))


AnyRequest = Request | TokenizerTrial | Compilation | Conversion


def decode_request(body: bytes) -> AnyRequest:
    """Decode what the `encode` of any request returned."""
    kind, given = body[:1], marshal.loads(body[1:])
    if kind == _TRY:
        return TokenizerTrial(given[0], Limits(*given[1]))
    if kind == _COMPILE:
        grammar, special_tokens, rows, limits = given
        return Compilation(grammar, special_tokens, rows, Limits(*limits))
    if kind == _CONVERT:
        return Conversion(given[0], Limits(*given[1]))
    text, limits, variables, now = given
    return Request(text, Limits(*limits), variables, None if now is None else datetime.fromisoformat(now))


def too_long(limits: Limits) -> str:
    """The message for a template that exceeds its time, shared by both sides that may end it."""
    return f"the chat template takes more than {limits.seconds:g} s of processor time"


def encode_answer(answer: str | list[str] | Failure) -> bytes:
    """Encode a prompt, a list of variable names, or a failure."""
    match answer:
        case str():
            return _TEXT + answer.encode("utf-8", "surrogatepass")
        case list():
            return _NAMES + json.dumps(answer).encode()
        case Failure():
            return _FAILURE + json.dumps([answer.fault, answer.message, answer.line]).encode()


def decode_answer(body: bytes) -> str | list[str]:
    """Decode a prompt or a list of variable names.

    Raises:
        Failure: the answer is this failure.
        ValueError: the body is not an answer.
    """
    kind, content = body[:1], body[1:]
    if kind == _TEXT:
        return content.decode("utf-8", "surrogatepass")
    document = json.loads(content)
    if kind == _NAMES:
        return [str(name) for name in document]
    fault, message, line = document
    raise Failure(TemplateFault(fault), str(message), line)


def send(connection: socket.socket, body: bytes) -> None:
    """Send one message.

    Raises:
        OSError: the other end is gone, or accepts nothing within the socket's timeout.
    """
    connection.sendall(_LENGTH.pack(len(body)) + body)


def receive(connection: socket.socket) -> bytes | None:
    """Receive the next message; None if the other end is gone.

    Raises:
        OSError: no message came within the socket's timeout, or it is too long.
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
