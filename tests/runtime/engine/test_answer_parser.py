"""Reasoning and tool calls are split from an answer, wherever its text is cut into pieces."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxbuild.runtime.engine.output.answer_parser import AnswerSplitter
from mlxbuild.runtime.engine.output.tool_calls import parse_tool_calls
from mlxbuild.runtime.model.facts import ModelFacts
from mlxbuild.runtime.protocol.events import ToolCall

FACTS = ModelFacts(
    "qwen3",
    None,
    10,
    None,
    (1,),
    tool_parser="json_tools",
    tool_call_start="<tool_call>",
    tool_call_end="</tool_call>",
    think_start="<think>",
    think_end="</think>",
)
OSLO = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
CALL = ToolCall("get_weather", {"city": "Oslo"})


def split(
    text: str,
    cuts: list[int] | None = None,
    facts: ModelFacts = FACTS,
    thinking: bool = False,
    structured: bool = False,
) -> tuple[str, str, list[ToolCall], bool]:
    """Text, reasoning, calls, and whether there were any."""
    places = sorted({min(cut, len(text)) for cut in cuts or []} | {0, len(text)})
    splitter = AnswerSplitter(facts, thinking=thinking, structured=structured)
    chunks = [chunk for a, b in itertools.pairwise(places) for chunk in splitter.feed(text[a:b])] + splitter.finish()
    calls = [chunk.tool_call for chunk in chunks if chunk.tool_call is not None]
    return "".join(c.text for c in chunks), "".join(c.thinking for c in chunks), calls, splitter.called


CASES = {
    "text": ("Seven <b> is </b> 7.", ("Seven <b> is </b> 7.", "", [], False)),
    "thinking": ("<think>\nHm, 7\n</think>\n\nSeven.", ("Seven.", "Hm, 7", [], False)),
    "empty thinking": ("<think>\n\n</think>\n\nSeven.", ("Seven.", "", [], False)),
    "call": (OSLO, ("", "", [CALL], True)),
    "text and two calls": (f"Both.\n{OSLO}\n{OSLO}", ("Both.\n", "", [CALL, CALL], True)),
    "thinking and call": (f"<think>a\n\nb</think>{OSLO}", ("", "a\n\nb", [CALL], True)),
    "marker in an argument": (
        OSLO.replace("Oslo", 'a </tool_call> \\" </tool_call>\\\\') + "\nDone",
        ("Done", "", [ToolCall("get_weather", {"city": 'a </tool_call> " </tool_call>\\'})], True),
    ),
    "numbers that JSON has not": (
        OSLO.replace('"Oslo"', "NaN"),
        (OSLO.replace('"Oslo"', "NaN"), "", [], False),
    ),
    "call while thinking": (f"<think>so{OSLO}", ("", "so", [CALL], True)),
    "open call": (OSLO.removesuffix("</tool_call>"), ("", "", [CALL], True)),
    "open thinking": ("<think>what if", ("", "what if", [], False)),
    "no call": ("<tool_call>{oops</tool_call> sorry", ("<tool_call>{oops</tool_call>sorry", "", [], False)),
    "beginning of a marker at the end": ("a <thi", ("a <thi", "", [], False)),
}


@pytest.mark.parametrize("name", CASES)
@given(cuts=st.lists(st.integers(0, 120), max_size=8))
def test_the_parts_come_out_however_the_text_is_cut(name: str, cuts: list[int]) -> None:
    text, expected = CASES[name]
    assert split(text, cuts) == expected


DOCUMENT = '{"a": "<think>b</think>", "c": "<tool_call>{}</tool_call>"}'
FORMED_CASES = {
    "document": (DOCUMENT, (DOCUMENT, "", [], False)),
    "list that begins like a marker": ("[1, 2]", ("[1, 2]", "", [], False)),
    "thinking and document": (f"<think>\nb<tool_call></think>\n\n{DOCUMENT}", (DOCUMENT, "b<tool_call>", [], False)),
    "two calls": (f"\n{OSLO}\n{OSLO}", ("", "", [CALL, CALL], True)),
    "thinking and call": (f"<think>a</think>\n{OSLO}", ("", "a", [CALL], True)),
    "cut in its first marker": ("<tool_ca", ("<tool_ca", "", [], False)),
}


@pytest.mark.parametrize("name", FORMED_CASES)
@given(cuts=st.lists(st.integers(0, 150), max_size=8))
def test_markers_inside_a_document_are_its_text(name: str, cuts: list[int]) -> None:
    text, expected = FORMED_CASES[name]
    assert split(text, cuts, structured=True) == expected


def test_a_prompt_that_opened_the_thinking() -> None:
    assert split("\nHm\n</think>\n\nYes", thinking=True) == ("Yes", "Hm", [], False)


def test_a_model_without_markers_says_everything() -> None:
    text = f"<think>a</think>{OSLO}"
    assert split(text, facts=ModelFacts("llama", None, 10, None, (1,))) == (text, "", [], False)


def test_a_form_without_end_marker_runs_to_the_end() -> None:
    mistral = ModelFacts(
        "m", None, 9, None, (1,), tool_parser="mistral", tool_call_start="[TOOL_CALLS]", tool_call_end=""
    )
    text = 'Wait.[TOOL_CALLS]get_weather[ARGS]{"city": "Oslo"}'
    assert split(text, [3, 8, 30], facts=mistral) == ("Wait.", "", [CALL], True)


@pytest.mark.parametrize("text", ["", "7", "[]{}", '{"arguments": {}}', '{"name": "f", "arguments": 7}', '{"name": 7}'])
def test_what_is_no_call_is_none(text: str) -> None:
    assert parse_tool_calls("json_tools", text, None) is None


def test_arguments_written_as_text_are_read() -> None:
    assert parse_tool_calls("json_tools", '{"name": "f", "arguments": "{\\"a\\": 1}"}', None) == (
        ToolCall("f", {"a": 1}),
    )


def cut(text: str, facts: ModelFacts = FACTS, **options: Any) -> tuple[str, list[ToolCall]]:
    """Text and calls of an answer that reached its length limit there, token by token."""
    splitter = AnswerSplitter(facts, **options)
    chunks = [chunk for letter in text for chunk in splitter.feed(letter)] + splitter.finish(is_cut=True)
    return "".join(c.text for c in chunks), [c.tool_call for c in chunks if c.tool_call is not None]


TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {}}}]
MISTRAL = replace(FACTS, tool_parser="mistral", tool_call_start="[TOOL_CALLS]", tool_call_end="")
CODER = replace(FACTS, tool_parser="qwen3_coder")
BARE = ModelFacts("llama", None, 10, None, (1,), tool_parser="bare_json")
REQUIRED = {"structured": True, "requires_call": True}
BARE_CALL = '{"name": "get_weather", "parameters": {"city": "Oslo"}}'


@pytest.mark.parametrize(
    ("text", "facts", "options", "expected"),
    [
        (f"Wait.{OSLO[:40]}", FACTS, {}, ("Wait.", [])),
        (f"{OSLO}{OSLO[:40]}", FACTS, {}, ("", [CALL])),
        ("Wait.<tool_c", FACTS, {}, ("Wait.", [])),
        ("1 <", FACTS, {}, ("1 <", [])),
        (OSLO.removesuffix("</tool_call>"), FACTS, {}, ("", [CALL])),
        (OSLO[:40], FACTS, REQUIRED, ("", [])),
        ("<t", FACTS, REQUIRED, ("", [])),
        ("<", FACTS, REQUIRED, ("", [])),
        ('[TOOL_CALLS]get_weather[ARGS]{"city": "Os', MISTRAL, {}, ("", [])),
        ('[TOOL_CALLS]get_weather[ARGS]{"city": "Oslo"}', MISTRAL, {}, ("", [CALL])),
        ("<tool_call>\n<function=get_weather>\n<parameter=city>\nOs", CODER, {}, ("", [])),
        (BARE_CALL[:40], BARE, {"tools": TOOLS}, ("", [])),
        (f"{BARE_CALL};{BARE_CALL[:12]}", BARE, {"tools": TOOLS}, ("", [CALL])),
        ('{"name": "Ann", "parameters": {"a', BARE, {"tools": TOOLS}, ('{"name": "Ann", "parameters": {"a', [])),
        ('{"n', BARE, {"tools": TOOLS}, ('{"n', [])),
        ('{"n', BARE, {"tools": TOOLS, **REQUIRED}, ("", [])),
    ],
)
def test_what_is_left_of_a_call_at_the_limit_is_no_text(
    text: str, facts: ModelFacts, options: dict[str, Any], expected: tuple[str, list[ToolCall]]
) -> None:
    assert cut(text, facts, **options) == expected


@pytest.mark.parametrize(
    ("text", "facts"),
    [(f"{OSLO}\n{OSLO} More", FACTS), (f"{BARE_CALL}; {BARE_CALL}", BARE), (f"{BARE_CALL} More", BARE)],
)
def test_an_answer_is_over_with_the_only_call_that_it_may_have(text: str, facts: ModelFacts) -> None:
    splitter = AnswerSplitter(facts, tools=TOOLS, allows_several=False)
    chunks = []
    for letter in text:
        chunks += splitter.feed(letter)
        if splitter.is_over:
            break
    assert [chunk.tool_call for chunk in [*chunks, *splitter.finish()]] == [CALL]
    assert letter == "}" or letter == ">"
