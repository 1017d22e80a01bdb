"""Rewords pydantic's validation errors of request fields in plain English."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_KINDS = {
    "string": "a text",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "dict": "an object",
    "model": "an object",
    "model_attributes": "an object",
}
"""The types by the names in pydantic's errors of the forms `…_type` and `…_parsing`."""
_BOUNDS = {
    "greater_than_equal": "must be {ge} or more",
    "greater_than": "must be above {gt}",
    "less_than_equal": "must be {le} or less",
    "less_than": "must be below {lt}",
    "too_short": "must have at least {min_length} item",
    "too_long": "must have at most {max_length}",
    "string_too_short": "must not be empty",
    "string_pattern_mismatch": "has the wrong form",
    "literal_error": "must be {expected}",
    "finite_number": "must be a finite number",
    "int_from_float": "must be an integer",
    "missing": "is required",
}


def said(place: str, kind: str, details: Mapping[str, Any], own_words: str) -> str:
    """The message for a wrong field; `place` is empty for the whole body.

    Args:
        kind: Pydantic's type of the error, such as `int_type`.
        details: The error's context.
        own_words: The error's own message, used only for errors that mlxbuild defines.
    """
    named = f"`{place}`" if place else "the body"
    if kind in ("refused", "value_error"):
        return f"{named}: {own_words}"
    if kind == "union_tag_invalid":
        tag = str(details["tag"])[:80]
        return f"`{tag_place(place, details)}` cannot be '{tag}'; it must be {_either(details['expected_tags'])}"
    if kind == "union_tag_not_found":
        return f"`{tag_place(place, details)}` is required"
    if kind in _BOUNDS:
        return f"{named} {_BOUNDS[kind].format(**details)}"
    return f"{named} must be {_KINDS.get(kind.removesuffix('_type').removesuffix('_parsing'), 'of another type')}"


def tag_place(place: str, details: Mapping[str, Any]) -> str:
    """The place of the discriminator field of a union."""
    name = str(details.get("discriminator", "")).strip("'")
    name = "type" if name.endswith("()") else name  # our own discriminator functions read `type`
    return f"{place}.{name}" if place else name


def _either(tags: str) -> str:
    """Turn `'a', 'b', 'c'` into `'a', 'b' or 'c'`."""
    before, _, last = tags.rpartition(", ")
    return f"{before} or {last}" if before else last
