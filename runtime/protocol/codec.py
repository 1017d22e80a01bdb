"""Encodes the protocol's dataclasses as JSON and decodes them; `runtime.runner.frames` sends the JSON.

A dataclass is encoded as `[its name, the fields that are not at their default]`. Data from callers (messages, tools,
schemas, options) is passed through unchanged and never decoded as a dataclass.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from mlxbuild.runtime.protocol import events, loaded, requests, statistics

_CLASSES: Mapping[str, type[Any]] = {
    name: each
    for module in (requests, events, loaded, statistics)
    for name, each in vars(module).items()
    if isinstance(each, type) and is_dataclass(each)
}

Reader = Callable[[Any], Any]


def to_json(value: Any) -> bytes:
    """Encode JSON types, bytes, mappings and the protocol's dataclasses as compact ASCII JSON.

    Raises:
        TypeError: the value contains any other type.
        ValueError, RecursionError: the value contains itself, or nests too deeply.
    """
    return _ENCODER.encode(value).encode()


def read(value: Any) -> Any:
    """Decode a dataclass from parsed JSON.

    Raises:
        ValueError, TypeError, KeyError: the value does not encode a dataclass of the protocol.
    """
    name, given = value
    readers = _READERS[name]
    return _CLASSES[name](**{key: readers[key](part) if key in readers else part for key, part in given.items()})


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, Mapping):
        return dict(value)
    each = type(value)
    if _CLASSES.get(each.__name__) is not each:
        raise TypeError(f"{each.__name__} cannot be sent")
    parts = {}
    for name, default in _DEFAULTS[each.__name__]:
        part = getattr(value, name)
        if part is not default and (part != default or _is_zero(part)):
            parts[name] = part
    return [each.__name__, parts]


def _is_zero(part: Any) -> bool:
    """Whether a float is 0.0 or -0.0: the two compare equal, but -0.0 has to be sent."""
    return isinstance(part, float) and part == 0


_ENCODER = json.JSONEncoder(separators=(",", ":"), default=_plain)


def _defaults(each: type[Any]) -> list[tuple[str, Any]]:
    return [
        (field.name, field.default if field.default_factory is MISSING else field.default_factory())
        for field in fields(each)
    ]


def _readers(each: type[Any]) -> Mapping[str, Reader]:
    """Readers for the fields whose JSON type differs from their Python type."""
    readers = {name: _reader(hint) for name, hint in get_type_hints(each).items()}
    return {name: reader for name, reader in readers.items() if reader is not None}


def _reader(hint: Any) -> Reader | None:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is bytes:
        return lambda text: text.encode("latin-1")
    if is_dataclass(hint):
        return read
    if origin is tuple:
        inner = _reader(arguments[0])
        return tuple if inner is None else lambda parts: tuple(map(inner, parts))
    if origin in (Union, UnionType):
        # Dataclasses and tuples are lists in JSON, and no other type of a field is, so only lists are decoded.
        choices = [reader for reader in map(_reader, arguments) if reader is not None]
        if choices:
            return lambda part: choices[0](part) if isinstance(part, list) else part
    return None


_DEFAULTS = {name: _defaults(each) for name, each in _CLASSES.items()}
_READERS = {name: _readers(each) for name, each in _CLASSES.items()}
