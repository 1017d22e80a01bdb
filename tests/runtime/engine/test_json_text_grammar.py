"""Inside a JSON string, a rewritten grammar allows exactly the texts of the original one."""

from __future__ import annotations

import functools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxbuild.runtime.engine.structured_output.errors import FormatNotSupported
from mlxbuild.runtime.engine.structured_output.json_text_grammar import in_json_text

PATCH = r"""start: begin_patch hunk+ end_patch
begin_patch: "*** Begin Patch" LF
end_patch: "*** End Patch" LF?

hunk: add_hunk | delete_hunk // and no others
add_hunk: "*** Add File: " filename LF add_line+
delete_hunk: "*** Delete File: " filename LF
filename: /(.+)/
add_line: "+" /(.*)/ LF -> line

%import common.LF
"""
SUM = """start: sum
sum: NUMBER | "(" sum ("+" | "\\\\" | "\\n") sum ")"
NUMBER: /[0-9]+/
%ignore " "
"""


@functools.cache
def tokenizer() -> Any:
    from llguidance import LLTokenizer

    return LLTokenizer("byte")


def lets_through(grammar: str, text: str) -> bool:
    from llguidance import LLMatcher

    matcher = LLMatcher(tokenizer(), LLMatcher.grammar_from_lark(grammar), log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    data = list(text.encode())
    return bool(matcher.try_consume_tokens(data) == len(data) and matcher.is_accepting())


def lets_through_in_json(grammar: str, text: str) -> bool:
    around = 'start: "{" quoted "}"\nquoted: "\\"" text "\\""\ntext: %lark {\n' + in_json_text(grammar) + "\n}"
    return lets_through(around, "{" + json.dumps(text, ensure_ascii=False) + "}")


@pytest.mark.parametrize(
    ("grammar", "text"),
    [
        ("start: /yes|no/", "yes"),
        (r"start: /[^a]+/", 'b"\\\n\tq/é'),
        (r'start: /[\s"]{2}x/', '\n"x'),
        (r'start: "a".."c" "X\n"i', "bx\n"),
        (r'start: /"(?:[^"]|\\")*"/', r'"a\"b"'),
        (r"start: /\x41\u0042\n\/[\]\\]/ # why", "AB\n/\\"),
        ("?start: INT WS TEXT\n%import common (INT, WS)\n%import common.ESCAPED_STRING -> TEXT", '12 \n"a"'),
        (r"start: /a.b/s", "a\nb"),
        (r'start: /(?P<n>a|\\")b{2,3}/', '\\"bbb'),
        (r"start: /\W\D\S/i", '"\n\\'),
        (SUM, "(1 \\(2\n3))"),
        (
            PATCH,
            '*** Begin Patch\n*** Add File: a "b" \\ c\n+he said "hi"\t\\n\n+\n*** Delete File: x\n*** End Patch\n',
        ),
    ],
)
def test_texts_of_a_grammar_are_let_through(grammar: str, text: str) -> None:
    assert lets_through(grammar, text)
    assert lets_through_in_json(grammar, text)


@pytest.mark.parametrize(
    ("grammar", "text"),
    [
        ("start: /yes|no/", "maybe"),
        (r"start: /[^a]+/", "ba"),
        (r'start: "a".."c" "X\n"i', "bxN"),
        (r'start: /"(?:[^"]|\\")*"/', '"ab'),
        (r"start: /a.b/", "a\nb"),
        (SUM, "(1"),
        (PATCH, "*** Begin Patch\n*** End Patch\n"),
        (PATCH, "*** Begin Patch\n*** Add File: a\nhe\n*** End Patch\n"),
    ],
)
def test_other_texts_are_not(grammar: str, text: str) -> None:
    assert not lets_through(grammar, text)
    assert not lets_through_in_json(grammar, text)


@given(st.text(alphabet='ab"\\\n\t/{}é', max_size=8))
def test_classes_hold_what_they_hold_outside_of_json(text: str) -> None:
    for grammar in (r'start: /[^"\n]*/', r"start: /(\\.|[^\\])*/", r"start: /\S*\s?/"):
        assert lets_through_in_json(grammar, text) == lets_through(grammar, text)


@pytest.mark.parametrize(
    ("grammar", "told"),
    [
        ("start: %json {}", "%json"),
        ("start: <|end|>", "<"),
        ('start[suffix="x"]: /a+/', "attributes"),
        (r"start: /\bword/", r"\\b"),
        ("start: /a/x", "flag `x`"),
        (r"start: a" "\n" r'a: "(" a ")" | /[^(]+/', "refers to itself"),
        ('start: "a" "b"\n%ignore /\\s+/', "refers to itself, or ignores"),
        ("start: /[a/", "without an end"),
        ("start: /(?i)a/", r"`\(\?`"),
        ('start: "' + "a" * 200_000 + '"', "200,"),
    ],
)
def test_what_cannot_be_held_to_is_refused(grammar: str, told: str) -> None:
    with pytest.raises(FormatNotSupported, match=told):
        in_json_text(grammar)
