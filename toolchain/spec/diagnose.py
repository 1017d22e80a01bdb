"""Converts pydantic's errors to problems with a location, a note and a hint."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, get_args

from pydantic_core import ErrorDetails
from yaml.nodes import ScalarNode

from mlxbuild.registry.core.suggestions import closest, did_you_mean, either, few
from mlxbuild.toolchain.spec.fields import keys_at, words_at
from mlxbuild.toolchain.spec.positions import Path, Positions
from mlxbuild.toolchain.spec.problems import Code, Problem
from mlxbuild.toolchain.spec.written.chat import TemplateName
from mlxbuild.toolchain.spec.written.form import PATTERN_NOTES, TAG_MARK

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "dict_type": "a map",
    "model_type": "a map",
}
_BOUNDS = {
    "greater_than": ("gt", "must be above"),
    "greater_than_equal": ("ge", "must be at least"),
    "less_than": ("lt", "must be below"),
    "less_than_equal": ("le", "must be at most"),
}
_EXAMPLES = {
    "name": "add name: my-model",
    "version": 'add version: "1.0"',
    "base": "add base: {hf_repo: owner/model}, {path: ./folder}, {gguf: ./model.gguf} or {from: name:tag}",
}
LONGEST_ECHO = 40
_TOO_LARGE = re.compile(r"[-+]?[0-9]{21,}(?:\.[0-9]*)?")
"""More digits than a number in a recipe may have: it was read as text."""


def diagnose(errors: Iterable[ErrorDetails], positions: Positions) -> list[Problem]:
    """One problem per mistake; a misspelled required key counts once."""
    errors = list(errors)
    meant = {
        (error["loc"][:-1], closest(str(error["loc"][-1]), keys_at(error["loc"][:-1])))
        for error in errors
        if error["type"] == "extra_forbidden"
    }
    return [
        _problem(error, positions)
        for error in errors
        if error["type"] != "missing" or (error["loc"][:-1], error["loc"][-1]) not in meant
    ]


def named(path: Path) -> str:
    """A path in readable form: `tests[0].complete.prompt`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _problem(error: ErrorDetails, positions: Positions) -> Problem:
    kind, where, value = error["type"], error["loc"], error["input"]
    context: dict[str, Any] = error.get("ctx", {})
    path = _plain(where)
    name = named(path)
    if kind == "extra_forbidden":
        return _unknown_key(where, positions)
    if kind == "missing":
        parent = path[:-1]
        of = f"`{named(parent)}`" if parent else "the recipe"
        example = _EXAMPLES.get(str(path[-1])) if not parent else f"add `{path[-1]}`"
        return positions.at_key(Code.MISSING_KEY, f"{of} has no `{path[-1]}`", parent, "it is required", example)
    if kind.startswith("spec-"):
        at, note, hint = context["key"], context["note"], context["hint"] or None
        if at:
            place = positions.at_value if kind == Code.QUANTIZATION else positions.at_key
            return place(Code(kind), context["message"], (*path, at), note, hint)
        return positions.at_value(Code(kind), context["message"], path, note, hint)
    if kind in _EXPECTED:
        return _wrong_type(path, value, _EXPECTED[kind], positions)
    if kind == "literal_error":
        words = words_at(where)
        hint = (_other_form(path, value) or did_you_mean(value, words)) if isinstance(value, str) else None
        message = f"invalid value for `{name}`: `{_echo(value)}`"
        return positions.at_value(Code.VALUE, message, path, f"expected {either(words)}", hint)
    if kind in _BOUNDS:
        key, words_for = _BOUNDS[kind]
        bound = context[key]
        limit = int(bound) if float(bound).is_integer() else bound
        return positions.at_value(Code.RANGE, f"`{name}` is out of range: {_echo(value)}", path, f"{words_for} {limit}")
    if kind == "string_pattern_mismatch":
        note = PATTERN_NOTES[context["pattern"]]
        hint = None
        if path == ("name",):
            hint = _name_hint(str(value))
        elif path[-1] == "hf_repo" and "huggingface.co/" in value:
            hint = f"write hf_repo: {'/'.join(value.partition('huggingface.co/')[2].split('/')[:2])}"
        return positions.at_value(Code.VALUE, f"invalid value for `{name}`: `{_echo(value)}`", path, note, hint)
    if kind in ("too_short", "string_too_short"):
        least = context["min_length"]
        note = "empty" if not value else f"expected at least {least}"
        return positions.at_value(Code.VALUE, f"`{name}` has too few entries", path, note)
    if kind == "string_too_long":
        note = f"at most {context['max_length']} characters"
        return positions.at_value(Code.VALUE, f"`{name}` is too long", path, note)
    return positions.at_value(Code.VALUE, f"invalid value for `{name}`", path, error["msg"])


def _other_form(path: Path, value: str) -> str | None:
    """What to write for a name that people expect, as other tools have it."""
    if path == ("prompt_template",) and (near := closest(value, get_args(TemplateName))):
        return f"write prompt_template: {{named: {near}}}"
    if path[-1:] == ("quantization",) and (bits := _BITS.fullmatch(value.lower())):
        return f"write quantization: {f'int{bits[1]}' if bits[1] in '48' else f'{{bits: {bits[1]}}}'}"
    return None


_BITS = re.compile(r"(?:int|iq|q|w)?([234568])(?:-?bits?)?(?:_.*)?")


def _plain(where: Path) -> Path:
    """The location without the tags of union members."""
    return tuple(part for part in where if not (isinstance(part, str) and part.startswith(TAG_MARK)))


_OTHER_WORDS = {"compute": "write `dtype`: what is not quantized, and the scales of what is, decide it"}
"""Keys that people expect, and what to write instead."""


def _unknown_key(where: Path, positions: Positions) -> Problem:
    path = _plain(where)
    key, parent = str(path[-1]), path[:-1]
    known = keys_at(where[:-1])
    of = f" in `{named(parent)}`" if parent else ""
    hint = did_you_mean(key, known) or (None if parent else _OTHER_WORDS.get(key))
    more = ": `mlxbuild schema` prints them all" if len(known) > 3 else ""
    hint = hint or f"the keys here are {few(known)}{more}"
    note = f"`{named(parent)}` has no such key" if parent else "a recipe has no such key"
    return positions.at_key(Code.UNKNOWN_KEY, f"unknown key `{key}`{of}", path, note, hint)


def _wrong_type(path: Path, value: Any, expected: str, positions: Positions) -> Problem:
    name = named(path)
    place = positions.find(path)
    node = place.value if place is not None else None
    if expected == "text" and isinstance(node, ScalarNode):
        key = path[-1] if isinstance(path[-1], str) else None
        if value is None:
            return positions.at_value(Code.UNQUOTED, f"`{name}` is empty", path, "expected text")
        quoted = f'"{node.value}"'
        hint = f"write {key}: {quoted}" if key else f"write {quoted}"
        note = f"YAML reads this as {_kind(value)}"
        return positions.at_value(Code.UNQUOTED, f"`{name}` must be quoted: {quoted}", path, note, hint)
    advice: str | None = None
    if isinstance(value, str) and expected in ("a whole number", "a number", "true or false"):
        bare = value.strip().lower()
        if _TOO_LARGE.fullmatch(bare):
            return positions.at_value(Code.RANGE, f"`{name}` is too large a number: {_echo(bare)}", path)
        if bare in ("true", "false") or bare.replace(".", "", 1).lstrip("-").isdigit():
            advice = f"write {_echo(bare)} without quotes"
    elif expected == "a list" and isinstance(value, str):
        advice = f'write ["{_echo(value)}"]'
    return positions.at_value(
        Code.TYPE, f"`{name}` must be {expected}, not {_kind(value)}", path, f"expected {expected}", advice
    )


def _kind(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int():
            return "a number"
        case float():
            return "a decimal"
        case str():
            return "text"
        case list() | tuple():
            return "a list"
        case _:
            return "a map"


def _echo(value: Any) -> str:
    text = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else _kind(value)
    return text if len(text) <= LONGEST_ECHO else f"{text[: LONGEST_ECHO - 1]}…"


def _name_hint(value: str) -> str | None:
    """The closest valid name."""
    parts = "".join(character if character.isascii() and character.isalnum() else "-" for character in value.lower())
    name = "-".join(part for part in parts.split("-") if part)[:63].rstrip("-")
    return f"write name: {name}" if name else None
