"""JSON Schemas that answers are to be held to: prepared, or refused. What holds an answer to them is `grammar`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jsonschema import FormatChecker
from jsonschema.exceptions import SchemaError
from jsonschema.validators import (
    Draft4Validator,
    Draft6Validator,
    Draft7Validator,
    Draft201909Validator,
    Draft202012Validator,
)

from runtime.engine.schema_endings import has_ending
from runtime.engine.schema_errors import FormatNotSupported, InvalidSchema
from runtime.engine.schema_numbers import check_multiples, with_exact_numbers
from runtime.engine.schema_objects import with_closed_objects
from runtime.engine.schema_parts import all_parts, changed
from runtime.engine.schema_sizes import check_optional_properties
from runtime.engine.schema_texts import needs_escapes, with_known_texts
from runtime.engine.schema_unions import without_needless_one_of

LONGEST_SCHEMA = 200_000
"""In characters: checking and compiling that much takes about a second."""
_WHITESPACE = r"(\r?\n[ \t]{0,40})|([ \t]{1,4})"
"""Between two parts: a new line with its indentation, or a few spaces. Some models would write it without end."""
_ESCAPES = 'nrtbf"\\'
"""A key written as \\uXXXX would be taken for another one."""
_OPTIONS = {
    "whitespace_pattern": _WHITESPACE,
    "coerce_one_of": False,
    "lenient": False,
    "json_allow_general_unicode_escapes": False,
}
_DRAFTS = {
    str(draft.META_SCHEMA.get("$id", draft.META_SCHEMA.get("id"))).rstrip("#"): draft
    for draft in (Draft4Validator, Draft6Validator, Draft7Validator, Draft201909Validator)
}


def grammar_of(schema: Mapping[str, Any]) -> str:
    """The schema as llguidance takes it, as JSON text. What llguidance does not know it refuses itself.

    Objects that list their properties have no others, as everywhere where models are held to schemas.

    Raises:
        InvalidSchema: it breaks the rules of its own draft (2020-12 where it names none).
        FormatNotSupported: it is too large, nests too deeply, needs itself without end, has too many optional
            properties, counts properties whose names are free, or has values that cannot be written exactly.
    """
    try:
        length = len(json.dumps(schema, ensure_ascii=False))
        if length > LONGEST_SCHEMA:
            raise FormatNotSupported(f"the schema has {length:,} characters, above {LONGEST_SCHEMA:,}")
        check_optional_properties(schema)
        _check(schema)
        if not has_ending(schema):
            raise FormatNotSupported("no document of this schema ever ends: it needs itself within itself")
        check_multiples(schema)
        held = changed(without_needless_one_of(with_closed_objects(schema)), _as_read)
        if any(_counts_free_names(part) for part in all_parts(held)):
            raise FormatNotSupported(
                "`minProperties` cannot be held where names of properties are free: they may repeat",
                hint="name the properties and require them",
            )
        escapes = _ESCAPES + ("u" if needs_escapes(held) else "")
        return json.dumps({**held, "x-guidance": {**_OPTIONS, "json_allowed_escapes": escapes}}, ensure_ascii=False)
    except RecursionError:
        raise FormatNotSupported("the schema nests too deeply") from None


def _as_read(part: Mapping[str, Any]) -> Mapping[str, Any]:
    return with_known_texts(with_exact_numbers(part))


def _check(schema: Mapping[str, Any]) -> None:
    """Patterns are left to llguidance: Python's are others than the standard's."""
    draft = _DRAFTS.get(str(schema.get("$schema")).rstrip("#"), Draft202012Validator)
    try:
        draft.check_schema(dict(schema), format_checker=FormatChecker(()))
    except SchemaError as error:
        place = "/".join(str(part) for part in error.absolute_path)
        raise InvalidSchema(f"the JSON Schema is not valid: {error.message}", where=f"#/{place}") from None


def _counts_free_names(schema: Mapping[str, Any]) -> bool:
    least = schema.get("minProperties")
    if not isinstance(least, int) or least <= len(schema.get("required", ())) + 1:
        return False
    return schema.get("additionalProperties", True) is not False or bool(schema.get("patternProperties"))
