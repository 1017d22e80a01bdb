"""Prepares JSON Schemas for llguidance, or rejects them. The schema is enforced in `grammar`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import jsonschema_rs

from mlxbuild.runtime.engine.structured_output.errors import FormatNotSupported, InvalidSchema
from mlxbuild.runtime.engine.structured_output.schema_numbers import check_multiples, with_exact_numbers
from mlxbuild.runtime.engine.structured_output.schema_objects import with_closed_objects
from mlxbuild.runtime.engine.structured_output.schema_parts import all_parts, changed
from mlxbuild.runtime.engine.structured_output.schema_sizes import check_optional_properties, check_unions
from mlxbuild.runtime.engine.structured_output.schema_termination import has_ending
from mlxbuild.runtime.engine.structured_output.schema_texts import needs_escapes, with_known_texts
from mlxbuild.runtime.engine.structured_output.schema_unions import without_needless_one_of

LONGEST_SCHEMA = 200_000
"""In characters. All tested schemas up to this length are checked and compiled within a second."""
_TOLD = 300
"""Maximal length of a reported validation error, which may quote the whole schema."""
_WHITESPACE = r"(\r?\n[ \t]{0,40})|([ \t]{1,4})"
"""White space between two tokens of JSON: a new line with indentation, or a few spaces. It is bounded, as some models
would write it for ever.
"""
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPES = 'nrtbf"\\'
"""Allowed escapes; a key with \\uXXXX could pass for another one."""
_OPTIONS = {
    "whitespace_pattern": _WHITESPACE,
    "coerce_one_of": False,
    "lenient": False,
    "json_allow_general_unicode_escapes": False,
}
_LATEST = "https://json-schema.org/draft/2020-12/schema"
_DRAFTS = {
    "http://json-schema.org/draft-04/schema": jsonschema_rs.Draft4Validator,
    "http://json-schema.org/draft-06/schema": jsonschema_rs.Draft6Validator,
    "http://json-schema.org/draft-07/schema": jsonschema_rs.Draft7Validator,
    "https://json-schema.org/draft/2019-09/schema": jsonschema_rs.Draft201909Validator,
    _LATEST: jsonschema_rs.Draft202012Validator,
}


def grammar_of(schema: Mapping[str, Any]) -> str:
    """The schema as JSON text for llguidance, which itself rejects unsupported keywords.

    Objects that list their properties are closed, as is usual for structured output.

    Raises:
        InvalidSchema: it is not valid in its draft (by default 2020-12), or contains invalid Unicode.
        FormatNotSupported: it is too large, too deeply nested, infinitely recursive, has too many optional properties,
            uses `minProperties` with free property names, or has values that cannot be written exactly.
    """
    try:
        written = json.dumps(schema, ensure_ascii=False)
        if len(written) > LONGEST_SCHEMA:
            raise FormatNotSupported(f"the schema has {len(written):,} characters, above {LONGEST_SCHEMA:,}")
        if _SURROGATE.search(written):
            raise InvalidSchema("the JSON Schema has half of a surrogate pair in it, which is not a character")
        check_optional_properties(schema)
        _check(schema)
        if not has_ending(schema):
            raise FormatNotSupported("no document of this schema ever ends: it needs itself within itself")
        check_multiples(schema)
        held = changed(without_needless_one_of(with_closed_objects(schema)), _as_read)
        check_unions(held)
        if any(_counts_free_names(part) for part in all_parts(held)):
            raise FormatNotSupported(
                "`minProperties` cannot be enforced where names of properties are free: they may repeat",
                hint="name the properties and require them",
            )
        escapes = _ESCAPES + ("u" if needs_escapes(held) else "")
        return json.dumps({**held, "x-guidance": {**_OPTIONS, "json_allowed_escapes": escapes}}, ensure_ascii=False)
    except RecursionError:
        raise FormatNotSupported("the schema nests too deeply") from None


def _as_read(part: Mapping[str, Any]) -> Mapping[str, Any]:
    return with_known_texts(with_exact_numbers(part))


def _check(schema: Mapping[str, Any]) -> None:
    """Validate the schema, without its patterns, whose syntax llguidance checks."""
    draft = str(schema.get("$schema")).rstrip("#")
    try:
        _rules_of(draft if draft in _DRAFTS else _LATEST).validate(schema)
    except jsonschema_rs.ValidationError as error:
        place = "/".join(str(part) for part in error.instance_path)
        raise InvalidSchema(f"the JSON Schema is not valid: {error.message[:_TOLD]}", where=f"#/{place}") from None


@cache
def _rules_of(draft: str) -> jsonschema_rs.Validator:
    """The validator for schemas of a draft."""
    return _DRAFTS[draft]({"$ref": draft}, validate_formats=False)


def _counts_free_names(schema: Mapping[str, Any]) -> bool:
    least = schema.get("minProperties")
    if not isinstance(least, int) or least <= len(schema.get("required", ())) + 1:
        return False
    return schema.get("additionalProperties", True) is not False or bool(schema.get("patternProperties"))
