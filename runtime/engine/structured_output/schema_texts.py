"""Prepares strings of a JSON Schema for llguidance: regular expressions, known formats, control characters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from mlxbuild.runtime.engine.structured_output.errors import FormatNotSupported
from mlxbuild.runtime.engine.structured_output.schema_parts import all_parts

_FORMATS = frozenset({"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"})
"""Formats that are enforced; others are ignored, as the standard allows."""
_CONTROL = re.compile(r"[\x00-\x07\x0b\x0e-\x1f\x7f]")
"""Characters that JSON, or llguidance, can only write as \\u00XX."""
_ESCAPABLE = re.compile(r"[\x00-\x1f\x7f]")
"""Characters that may be written in that form."""
_PATTERN = re.compile(r"\\c([A-Za-z])|\\.|\[\^?\]?|\[|\]|&&|--|~~", re.DOTALL)
_ALWAYS, _NEVER = r"[\s\S]", r"[^\s\S]"


def with_known_texts(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema, without its subschemas, with patterns in Rust's syntax and without unknown formats."""
    new = {keyword: value for keyword, value in part.items() if keyword != "format" or value in _FORMATS}
    if isinstance(part.get("pattern"), str):
        new["pattern"] = rust_pattern(part["pattern"])
    if isinstance(part.get("patternProperties"), Mapping):
        new["patternProperties"] = {rust_pattern(name): below for name, below in part["patternProperties"].items()}
    return new


def rust_pattern(pattern: str) -> str:
    """A regular expression in Rust's syntax, in which character classes can be nested and subtracted."""
    written: list[str] = []
    end, is_in_list = 0, False
    for found in _PATTERN.finditer(pattern):
        text = found[0]
        written.append(pattern[end : found.start()])
        end = found.end()
        if found[1]:
            text = f"\\x{ord(found[1].upper()) - 64:02x}"
        elif is_in_list and text[0] in "[&-~":
            closes = text.startswith("[") and text.endswith("]")
            is_in_list = not closes
            text = "".join(f"\\{each}" for each in text.removesuffix("]")) + ("]" if closes else "")
        elif not is_in_list and text in ("[]", "[^]"):
            text = _NEVER if text == "[]" else _ALWAYS
        elif not is_in_list and text[0] in "[":
            is_in_list = True
        elif text == "]":
            is_in_list = False
        written.append(text)
    return "".join([*written, pattern[end:]])


def needs_escapes(schema: Mapping[str, Any]) -> bool:
    """Whether a listed value has a control character that can only be written as `\\u00XX`.

    Raises:
        FormatNotSupported: such escapes would allow properties under names that escape their schema.
    """
    parts = list(all_parts(schema))
    if not any(_CONTROL.search(text) for part in parts for text in _texts([part.get("const"), part.get("enum")])):
        return False
    for part in parts:
        names = part.get("properties", {})
        if part.get("patternProperties") or (
            part.get("additionalProperties", True) is not False and any(map(_ESCAPABLE.search, names))
        ):
            raise FormatNotSupported("control characters in values are not supported beside free names of properties")
    return True


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, Mapping):
        yield from value
        yield from _texts(list(value.values()))
