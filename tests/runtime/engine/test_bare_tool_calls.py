"""Calls without markers are found only at the start of an answer, wherever its text is cut into pieces."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxbuild.runtime.engine.output.answer_parser import AnswerSplitter
from mlxbuild.runtime.model.facts import ModelFacts
from mlxbuild.runtime.protocol.events import ToolCall

FACTS = ModelFacts("llama", None, 10, None, (1,), takes_tools=True, tool_parser="bare_json")
TOOLS = [{"type": "function", "function": {"name": name}} for name in ("get_weather", "wait")]
OSLO = '{"name": "get_weather", "parameters": {"city": "Oslo", "note": "{}\\"}"}}'
CALL = ToolCall("get_weather", {"city": "Oslo", "note": '{}"}'})
WAIT = ToolCall("wait", {})


def split(text: str, cuts: list[int] | None = None, *, structured: bool = False) -> tuple[str, list[ToolCall], bool]:
    places = sorted({min(cut, len(text)) for cut in cuts or []} | {0, len(text)})
    splitter = AnswerSplitter(FACTS, tools=TOOLS, structured=structured)
    chunks = [chunk for a, b in itertools.pairwise(places) for chunk in splitter.feed(text[a:b])] + splitter.finish()
    calls = [chunk.tool_call for chunk in chunks if chunk.tool_call is not None]
    return "".join(chunk.text for chunk in chunks), calls, splitter.called


CASES: dict[str, tuple[str, tuple[str, list[ToolCall], bool]]] = {
    "call": (OSLO, ("", [CALL], True)),
    "white space": (f"\n {OSLO}\n", ("", [CALL], True)),
    "on several lines": (json.dumps(json.loads(OSLO), indent=2), ("", [CALL], True)),
    "two calls": (f'{OSLO}; {{"name": "wait", "parameters": {{}}}}', ("", [CALL, WAIT], True)),
    "two lines": (f'{OSLO}\n{{"name": "wait", "parameters": {{}}}}', ("", [CALL, WAIT], True)),
    "python tag": (f"<|python_tag|>{OSLO}", ("", [CALL], True)),
    "arguments as text": ('{"name": "wait", "parameters": "{\\"a\\": 1}"}', ("", [ToolCall("wait", {"a": 1})], True)),
    "other key": ('{"name": "wait", "arguments": {"a": 1}}', ("", [ToolCall("wait", {"a": 1})], True)),
    "with its type": ('{"type": "function", "name": "wait", "parameters": {}}', ("", [WAIT], True)),
    "in an envelope": ('{"type": "function", "function": {"name": "wait", "arguments": {}}}', ("", [WAIT], True)),
    "text after a call": (f"{OSLO}\nDone.", ("Done.", [CALL], True)),
    "text": ("Seven.", ("Seven.", [], False)),
    "text with a call": (f"So: {OSLO}", (f"So: {OSLO}", [], False)),
    "other JSON": ('{"answer": 7}', ('{"answer": 7}', [], False)),
    "JSON with a name": ('{"name": "Ada", "age": 36}', ('{"name": "Ada", "age": 36}', [], False)),
    "no arguments": ('{"name": "wait", "parameters": [1]}', ('{"name": "wait", "parameters": [1]}', [], False)),
    "cut off": (OSLO[:-1], (OSLO[:-1], [], False)),
    "a brace": ("{", ("{", [], False)),
    "nothing": ("", ("", [], False)),
}


@pytest.mark.parametrize("case", CASES)
@given(cuts=st.lists(st.integers(0, 120), max_size=12))
def test_calls_wherever_they_are_cut(case: str, cuts: list[int]) -> None:
    text, expected = CASES[case]
    assert split(text, cuts) == expected
    assert split(text, list(range(len(text)))) == expected


@given(st.text('{}[]":,; \nname<|>tygeo_wihr', max_size=60), st.lists(st.integers(0, 60), max_size=5))
def test_no_text_is_lost(text: str, cuts: list[int]) -> None:
    told, calls, _ = split(text, cuts)
    assert calls or told == text


def test_text_is_told_as_soon_as_it_cannot_be_a_call() -> None:
    splitter = AnswerSplitter(FACTS, tools=TOOLS)
    assert splitter.feed("{") == splitter.feed('"na') == []
    assert "".join(chunk.text for chunk in splitter.feed("ture")) == '{"nature'
    assert [chunk.text for chunk in splitter.feed(OSLO)] == [OSLO]


def test_without_tools_all_is_text() -> None:
    splitter = AnswerSplitter(FACTS)
    assert "".join(chunk.text for chunk in splitter.feed(OSLO)) == OSLO


def test_a_forced_call_is_read() -> None:
    assert split(OSLO, list(range(99)), structured=True) == ("", [CALL], True)
