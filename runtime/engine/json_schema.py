"""JSON Schemas that answers are to be held to: prepared, or refused. What holds an answer to them is `grammar`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema.exceptions import SchemaError
from jsonschema.validators import (
    Draft4Validator,
    Draft6Validator,
    Draft7Validator,
    Draft201909Validator,
    Draft202012Validator,
)

from registry.errors import UserError
from runtime.engine.schema_endings import has_ending

LONGEST_SCHEMA = 200_000
"""In characters: checking and compiling that much takes about a second."""
_WHITESPACE = r"(\r?\n[ \t]{0,40})|([ \t]{1,4})"
"""Between two parts: a new line with its indentation, or a few spaces. Some models would write it without end."""
_OPTIONS = {
    "whitespace_pattern": _WHITESPACE,
    "coerce_one_of": False,
    "lenient": False,
    "json_allowed_escapes": 'nrtbf"\\',  # a key written as \uXXXX would be taken for another one
    "json_allow_general_unicode_escapes": False,
}
_DRAFTS = {
    str(draft.META_SCHEMA.get("$id", draft.META_SCHEMA.get("id"))).rstrip("#"): draft
    for draft in (Draft4Validator, Draft6Validator, Draft7Validator, Draft201909Validator)
}
_VALUES = frozenset({"const", "enum", "default", "examples"})
"""Keywords whose values are no schemas."""


class InvalidSchema(UserError):
    """A JSON Schema is not valid."""

    code = "invalid-schema"


class FormatNotSupported(UserError):
    """An answer cannot be held to the form that was asked for."""

    code = "format-not-supported"


def grammar_of(schema: Mapping[str, Any]) -> str:
    """The schema as llguidance takes it, as JSON text. What llguidance does not know it refuses itself.

    Raises:
        InvalidSchema: it breaks the rules of its own draft (2020-12 where it names none).
        FormatNotSupported: it is too large, nests too deeply, needs itself without end, or counts properties whose
            names are free.
    """
    try:
        text = json.dumps({**schema, "x-guidance": _OPTIONS}, ensure_ascii=False)
        if len(text) > LONGEST_SCHEMA:
            raise FormatNotSupported(f"the schema has {len(text):,} characters, above {LONGEST_SCHEMA:,}")
        _check(schema)
        if not has_ending(schema):
            raise FormatNotSupported("no document of this schema ever ends: it needs itself within itself")
        if any(_counts_free_names(part) for part in _parts(schema)):
            raise FormatNotSupported(
                "`minProperties` cannot be held where names of properties are free: they may repeat",
                hint="name the properties and require them",
            )
        return text
    except RecursionError:
        raise FormatNotSupported("the schema nests too deeply") from None


def _check(schema: Mapping[str, Any]) -> None:
    draft = _DRAFTS.get(str(schema.get("$schema")).rstrip("#"), Draft202012Validator)
    try:
        draft.check_schema(dict(schema))
    except SchemaError as error:
        place = "/".join(str(part) for part in error.absolute_path)
        raise InvalidSchema(f"the JSON Schema is not valid: {error.message}", where=f"#/{place}") from None


def _parts(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
        for name, item in value.items():
            if name not in _VALUES:
                yield from _parts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _parts(item)


def _counts_free_names(schema: Mapping[str, Any]) -> bool:
    least = schema.get("minProperties")
    if not isinstance(least, int) or least <= len(schema.get("required", ())) + 1:
        return False
    return schema.get("additionalProperties", True) is not False or bool(schema.get("patternProperties"))
