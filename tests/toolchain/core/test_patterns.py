"""Regular expressions of recipes end, whatever they are and whatever they are matched with."""

from __future__ import annotations

import pytest

from mlxbuild.toolchain.core.patterns import PatternRefused, check, found

CATASTROPHES = (
    r"^(([a-zA-Z ]+)+)+$",
    r"(a+)+$",
    r"^(a|a)*$",
    r"(a|aa)+$",
    r"(.*a){20}$",
    r"^(a?){50}a{50}$",
    r"(\w+\s?)*!$",
    r"((a*)*)*b",
)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("pattern", CATASTROPHES)
def test_what_would_hang_python_ends(pattern: str) -> None:
    assert not found(pattern, "a" * 20_000 + "#")


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("(?i)oslo", "In OSLO.", True),
        (r"^\d+$", "12", True),
        ("é", "Café", True),
        ("^b$", "a\nb", False),
        ("(?m)^b$", "a\nb", True),
        ("a.b", "a\nb", False),
        ("(?s)a.b", "a\nb", True),
        ("x", "\ud800x", True),
    ],
)
def test_what_matches(pattern: str, text: str, matches: bool) -> None:
    assert found(pattern, text) is matches


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("a(?=b)", r"it uses lookahead or lookbehind \(`\(\?=`\), which cannot be matched in linear time"),
        ("(?<!b)a", r"it uses lookahead or lookbehind \(`\(\?<!`\)"),
        (r"(a)\1", r"it uses a backreference \(`\\1`\)"),
        ("a++", r"it uses a possessive quantifier or an atomic group \(`\+\+`\)"),
        ("(?>a)", "it uses a possessive quantifier"),
        ("((a{1000}){1000}){1000}", "invalid repetition size"),
        ("[0-9", r"missing \]: \[0-9"),
    ],
)
def test_what_is_refused_and_why(pattern: str, told: str) -> None:
    with pytest.raises(PatternRefused, match=told):
        check(pattern)
