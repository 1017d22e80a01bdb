"""Validates JSON documents against JSON Schemas in bounded time, since schemas come with artifacts from anybody.

The jsonschema library does the work, but without its regular expressions, remote references and unbounded comparisons.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jsonschema
from jsonschema.exceptions import best_match
from jsonschema.validators import extend, validator_for
from jsonschema_specifications import REGISTRY
from referencing.exceptions import Unresolvable

from mlxbuild.toolchain.core.patterns import PatternRefused, check, found

_MOST_STEPS = 200_000
"""Limit on visited keywords and compared values; reaching it takes a second or two."""
_STEPS_OF_A_REFERENCE = 20
_VALUES = frozenset({"const", "enum", "default", "examples"})
"""Keywords whose values are data and not schemas."""

Keyword = Callable[[Any, Any, Any, Any], Iterator[jsonschema.ValidationError]]


class _TooLong(Exception):
    """Validation exceeded its step limit."""


def refusal(schema: Mapping[str, Any]) -> tuple[tuple[str, ...], str] | None:
    """The path of the first pattern of a schema that cannot be used, and why; None if all can be used."""
    for path, pattern in _patterns(schema, ()):
        try:
            check(pattern)
        except PatternRefused as error:
            return path, f"the pattern `{pattern}` cannot be used: {error}"
    return None


def complaint(document: Any, schema: Mapping[str, Any]) -> str | None:
    """A sentence about what is wrong with a document or with the schema itself; None if it is valid."""
    if {"unevaluatedProperties", "patternProperties"} <= set(_keys(schema)):  # jsonschema matches patterns for both
        return (
            "the schema of the gate has `unevaluatedProperties` and `patternProperties`, which are not checked together"
        )
    base: Any = validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        base.check_schema(schema)
        if (refused := refusal(schema)) is not None:
            return f"the schema of the gate is none: {refused[1]}"
        validator = _bounded(base)(schema, registry=REGISTRY)
        error = best_match(validator.iter_errors(document))
    except jsonschema.SchemaError as broken:
        return f"the schema of the gate is none, at {broken.json_path}: {broken.message}"
    except Unresolvable as missing:
        return f"the schema of the gate names another one, `{missing.ref}`, which is not in it"
    except (_TooLong, RecursionError):
        return "the schema of the gate takes too long to check"
    return None if error is None else f"the answer is not of the schema, at {error.json_path}: {error.message}"


def _bounded(base: Any) -> Any:
    """A validator with its own step limit."""
    left = _MOST_STEPS

    def spend(steps: int) -> None:
        nonlocal left
        left -= steps
        if left < 0:
            raise _TooLong

    def counted(name: str, keyword: Keyword) -> Keyword:
        steps = _STEPS_OF_A_REFERENCE if name.endswith("ef") else 1  # $ref, $dynamicRef, $recursiveRef

        @functools.wraps(keyword)
        def look(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
            spend(steps + (len(value) if isinstance(value, list) else 0))
            return keyword(validator, value, instance, schema) or iter(())

        return look

    def unique(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
        spend(len(instance) ** 2 // 100 if isinstance(instance, list) else 0)  # every item is compared with every other
        yield from keywords["uniqueItems"](validator, value, instance, schema) or ()

    def additional(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
        if not isinstance(instance, dict):
            return
        patterns = schema.get("patternProperties", {})
        rest = {name: item for name, item in instance.items() if not any(found(each, name) for each in patterns)}
        plain = {name: item for name, item in schema.items() if name != "patternProperties"}
        yield from keywords["additionalProperties"](validator, value, rest, plain) or ()

    keywords: Mapping[str, Keyword] = base.VALIDATORS
    changed = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": additional,
        "uniqueItems": unique,
    }
    own = {name: changed.get(name, keyword) for name, keyword in keywords.items()}
    extended: Any = extend  # `extend` has no type hints
    return extended(base, {name: counted(name, keyword) for name, keyword in own.items()})


def _pattern(validator: Any, pattern: Any, instance: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
    if isinstance(instance, str) and not found(pattern, instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
    for pattern, part in value.items() if isinstance(instance, dict) else ():
        for name, item in instance.items():
            if found(pattern, name):
                yield from validator.descend(item, part, path=name, schema_path=pattern)


def _patterns(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, item in value.items() if isinstance(value, Mapping) else ():
        if name in _VALUES:
            continue
        if name == "pattern" and isinstance(item, str):
            yield (*path, name), item
        if name == "patternProperties" and isinstance(item, Mapping):
            yield from (((*path, name), pattern) for pattern in item)
        yield from _patterns(item, (*path, name))
    for number, item in enumerate(value) if isinstance(value, list) else ():
        yield from _patterns(item, (*path, number))  # type: ignore[arg-type]


def _keys(value: Any) -> Iterator[str]:
    for name, item in value.items() if isinstance(value, Mapping) else ():
        yield name
        yield from _keys(item)
    for item in value if isinstance(value, list) else ():
        yield from _keys(item)
