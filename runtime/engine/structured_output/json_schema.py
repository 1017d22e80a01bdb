"""JSON Schemas that answers are to be held to: prepared, or refused. What holds an answer to them: `grammar`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import jsonschema_rs

from mlxbuild.runtime.engine.structured_output.errors import FormatNotSupported, InvalidSchema
from mlxbuild.runtime.engine.structured_output.schema_endings import has_ending
from mlxbuild.runtime.engine.structured_output.schema_numbers import check_multiples, with_exact_numbers
from mlxbuild.runtime.engine.structured_output.schema_objects import with_closed_objects
from mlxbuild.runtime.engine.structured_output.schema_parts import all_parts, changed
from mlxbuild.runtime.engine.structured_output.schema_sizes import check_optional_properties, check_unions
from mlxbuild.runtime.engine.structured_output.schema_texts import needs_escapes, with_known_texts
from mlxbuild.runtime.engine.structured_output.schema_unions import without_needless_one_of

LONGEST_SCHEMA = 200_000
"""In characters: of all schemas of that length that were tried, none takes a second to check and compile."""
_TOLD = 300
"""So many characters of what is wrong with a schema are told: it may quote all of it."""
_WHITESPACE = r"(\r?\n[ \t]{0,40})|([ \t]{1,4})"
"""Between two parts: a new line with its indentation, or a few spaces. Some models would write it without end."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPES = 'nrtbf"\\'
"""A key written as \\uXXXX would be taken for another one."""
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
    """The schema as llguidance takes it, as JSON text. What llguidance does not know it refuses itself.

    Objects that list their properties have no others, as everywhere where models are held to schemas.

    Raises:
        InvalidSchema: it breaks the rules of its own draft (2020-12 where it names none), or has texts that are none.
        FormatNotSupported: it is too large, nests too deeply, needs itself without end, has too many optional
            properties, counts properties whose names are free, or has values that cannot be written exactly.
    """
    try:
        written = json.dumps(schema, ensure_ascii=False)
        if len(written) > LONGEST_SCHEMA:
            raise FormatNotSupported(f"the schema has {len(written):,} characters, above {LONGEST_SCHEMA:,}")
        if _SURROGATE.search(written):
            raise InvalidSchema("the JSON Schema has half of a surrogate pair in it, which is no character")
        check_optional_properties(schema)
        _check(schema)
        if not has_ending(schema):
            raise FormatNotSupported("no document of this schema ever ends: it needs itself within itself")
        check_multiples(schema)
        held = changed(without_needless_one_of(with_closed_objects(schema)), _as_read)
        check_unions(held)
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
    """Patterns are left to llguidance: there are other ones in each language."""
    draft = str(schema.get("$schema")).rstrip("#")
    try:
        _rules_of(draft if draft in _DRAFTS else _LATEST).validate(schema)
    except jsonschema_rs.ValidationError as error:
        place = "/".join(str(part) for part in error.instance_path)
        raise InvalidSchema(f"the JSON Schema is not valid: {error.message[:_TOLD]}", where=f"#/{place}") from None


@cache
def _rules_of(draft: str) -> jsonschema_rs.Validator:
    """What a schema of a draft has to be like."""
    return _DRAFTS[draft]({"$ref": draft}, validate_formats=False)


def _counts_free_names(schema: Mapping[str, Any]) -> bool:
    least = schema.get("minProperties")
    if not isinstance(least, int) or least <= len(schema.get("required", ())) + 1:
        return False
    return schema.get("additionalProperties", True) is not False or bool(schema.get("patternProperties"))
