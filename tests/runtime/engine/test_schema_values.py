"""Numbers, strings and patterns of schemas are enforced exactly as written, or refused with the reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlxbuild.runtime.engine.structured_output.errors import FormatNotSupported
from tests.runtime.engine.schema_walks import lets_through

ODD = 175928847299117063
"""No float equals this number."""
LAST = 2**63 - 1


def tool_id(**bounds: Any) -> dict[str, Any]:
    return {"type": "integer", **bounds}


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"enum": [ODD, 1]}, f"the number {ODD} in `enum` cannot be written exactly"),
        ({"const": {"id": [ODD]}}, "in `const` cannot be written exactly"),
        ({"const": -(2**63)}, "cannot be written exactly"),
        ({"const": 2**64}, "cannot be written exactly"),
        ({"const": 123456789.12345679}, "123456789.12345679 in `const` cannot be written exactly"),
        ({"const": float("inf")}, "cannot be written exactly"),
        ({"const": 10**400}, "cannot be written exactly"),
        (tool_id(minimum=ODD, maximum=ODD + 3), f"`minimum` {ODD} of an integer cannot be enforced exactly"),
        (tool_id(exclusiveMaximum=ODD + 1), f"`maximum` {ODD} of an integer cannot be enforced exactly"),
        (tool_id(minimum=2**63, maximum=2**64), "`minimum` 9223372036854775808 of an integer"),
        (tool_id(maximum=-(2**64)), "`maximum` -18446744073709551616 of an integer"),
        (tool_id(minimum=-(2**63), maximum=-(2**63)), "cannot be enforced exactly"),
        ({"type": "number", "minimum": ODD, "maximum": ODD}, "Unsatisfiable"),
        ({"maximum": 10**400}, "beyond the range of floats"),
    ],
)
def test_numbers_that_would_be_rounded_are_refused(schema: Any, told: str) -> None:
    with pytest.raises(FormatNotSupported, match=told):
        lets_through(schema, "1")


@pytest.mark.parametrize(
    ("schema", "fits", "others"),
    [
        (tool_id(minimum=-(2**63), maximum=LAST), [0, -(2**62), LAST], [LAST + 1, -(2**63) - 1]),
        (tool_id(minimum=0, maximum=2**64 - 1), [0, LAST], [-1, 2**64]),
        (tool_id(minimum=2**62), [2**62, LAST], [2**62 - 1, 5]),
        (tool_id(exclusiveMinimum=2**53 - 1, maximum=2**60), [2**53, 2**60], [2**53 - 1, 2**60 + 1]),
        (tool_id(maximum=-(2**60)), [-(2**60)], [0, -(2**60) + 1]),
        ({"enum": [2**60, 10**30, -0.5, 0.1]}, [2**60, 10**30, 0.1], [2**60 + 24, 0.2]),
        ({"type": "number", "maximum": 2**60}, [2**53], [2**60 + 24]),
        (
            {"$schema": "http://json-schema.org/draft-04/schema#", **tool_id(minimum=3, exclusiveMinimum=True)},
            [4],
            [3],
        ),
    ],
)
def test_numbers_that_can_be_held_are_held_exactly(schema: Any, fits: list[Any], others: list[Any]) -> None:
    assert [lets_through(schema, str(number)) for number in fits] == [True] * len(fits)
    assert [lets_through(schema, str(number)) for number in others] == [False] * len(others)


@pytest.mark.parametrize("text", ["a\0b", "\x7f", "\x1b[0m\n", "é\u2028\x85"])
def test_control_characters_of_values_are_written_as_escapes(text: str) -> None:
    raw = json.dumps(text, ensure_ascii=False)
    written = raw.replace("\x7f", "\\u007f")
    for schema in ({"const": text}, {"enum": ["x", text]}, {"const": [text]}):
        whole = f"[{written}]" if schema == {"const": [text]} else written
        assert lets_through(schema, whole)
        assert not lets_through(schema, whole.replace("\\u00", "")) or "\\u00" not in whole


def test_escapes_do_not_let_a_name_escape_its_schema() -> None:
    named = {"type": "object", "properties": {"a\n": {"type": "integer"}, "b": {"const": "\0"}}}
    assert lets_through(named, '{"a\\n":1,"b":"\\u0000"}')
    assert not lets_through(named, '{"a\\u000a":"x"}')
    with pytest.raises(FormatNotSupported, match="control characters"):
        lets_through({**named, "additionalProperties": True}, "{}")


@pytest.mark.parametrize(
    ("pattern", "fits", "other"),
    [
        (r"^\p{L}+$", "é", "1"),
        (r"^(?<year>[0-9]{4})$", "2024", "24"),
        (r"^[[a]+$", "[a", "b"),
        (r"^[a&&b]$", "&", "c"),
        (r"^[^]$", "x", ""),
        (r"^\/\d$", "/1", "/x"),
    ],
)
def test_patterns_are_read_as_javascript_reads_them(pattern: str, fits: str, other: str) -> None:
    schema = {"type": "string", "pattern": pattern}
    assert lets_through(schema, json.dumps(fits, ensure_ascii=False))
    assert not lets_through(schema, json.dumps(other))


@pytest.mark.parametrize("name", ["password", "uri-reference", "byte", "int64", "hexagon"])
def test_formats_that_nobody_knows_ask_for_nothing(name: str) -> None:
    assert lets_through({"type": "string", "format": name}, '"any text"')
    assert not lets_through({"type": "string", "format": "date"}, '"any text"')
