"""Parses an Ollama Modelfile into directives.

Grammar: https://github.com/ollama/ollama/blob/main/docs/modelfile.mdx and its parser: a directive, a value that is the
rest of the line, or quoted, or in triple quotes over several lines; comments only at the start of a line.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import NoReturn

from mlxbuild.registry.core.errors import Location
from mlxbuild.toolchain.interchange.errors import BadModelfile

LIMIT_BYTES = 4 << 20
DIRECTIVES = frozenset(
    (
        "FROM",
        "PARAMETER",
        "TEMPLATE",
        "SYSTEM",
        "MESSAGE",
        "LICENSE",
        "ADAPTER",
        "DRAFT",
        "RENDERER",
        "PARSER",
        "REQUIRES",
    )
)
_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Directive:
    """One directive of a Modelfile."""

    name: str
    """Name in upper case."""
    argument: str
    """The key of a PARAMETER or the role of a MESSAGE; else empty."""
    value: str
    line: int
    """Line number, from one."""


def read(data: bytes, where: str) -> tuple[Directive, ...]:
    """Parse the directives of a Modelfile.

    Args:
        data: UTF-8, or UTF-16 with a byte order mark.
        where: Name of the file, for errors.

    Raises:
        BadModelfile: it is not valid; the message names the line.
    """
    if len(data) > LIMIT_BYTES:
        raise BadModelfile(f"it has more than {LIMIT_BYTES} bytes", where=where)
    lines = _decode(data, where).replace("\r\n", "\n").split("\n")
    directives: list[Directive] = []
    number = 0
    while number < len(lines):
        line, first = lines[number], number + 1
        number += 1
        if not line.strip() or line.startswith("#"):
            continue
        name, rest = _word(line)
        if name.upper() not in DIRECTIVES:
            _fail(f"`{name[:40]}` is not a directive", where, first, f"directives are {', '.join(sorted(DIRECTIVES))}")
        argument, rest = _word(rest) if name.upper() in ("PARAMETER", "MESSAGE") else ("", rest)
        value, number = _value(rest, lines, number, where, first)
        if name.upper() == "MESSAGE" and argument not in _ROLES:
            _fail(f"`{argument[:40]}` is not a role", where, first, "roles are system, user and assistant")
        if not value and name.upper() not in ("SYSTEM", "TEMPLATE"):
            _fail(f"{name.upper()} has no value", where, first, "write it after the directive")
        directives.append(Directive(name.upper(), argument, value, first))
    if not any(directive.name == "FROM" for directive in directives):
        _fail("it has no FROM line", where, 1, "begin with FROM and a model")
    return tuple(directives)


def _decode(data: bytes, where: str) -> str:
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise BadModelfile("it is neither UTF-8 nor marked UTF-16", where=where) from error


def _word(text: str) -> tuple[str, str]:
    parts = text.strip().split(None, 1)
    return (parts[0] if parts else "", parts[1] if len(parts) > 1 else "")


def _value(rest: str, lines: list[str], number: int, where: str, first: int) -> tuple[str, int]:
    """The value, and the index of the line after it."""
    rest = rest.strip()
    for quote in ('"""', '"'):
        if not rest.startswith(quote):
            continue
        text = rest
        while not text.rstrip().endswith(quote) or len(text.rstrip()) < 2 * len(quote):
            if number == len(lines):
                _fail(f"a {quote} is never closed", where, first, "close it at the end of a line")
            text += "\n" + lines[number]
            number += 1
        return text.rstrip()[len(quote) : -len(quote)], number
    return rest, number


def _fail(message: str, where: str, line: int, hint: str) -> NoReturn:
    raise BadModelfile(message, where=Location(where, line), hint=hint)
