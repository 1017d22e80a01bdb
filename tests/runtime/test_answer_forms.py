"""Answers of whole models in a form: formats and forced tool calls, with thinking, stops, tools and bounds."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from runtime.engine.json_schema import FormatNotSupported, InvalidSchema
from runtime.model.facts import ModelFacts
from runtime.protocol.answers import Answer
from runtime.protocol.events import Chunk, Ending
from runtime.protocol.requests import AnswerFormat, ToolChoice
from runtime.session import LoadedModel
from tests.runtime.tiny_folders import write_model

USER = [{"role": "user", "content": "hello"}]
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
CITY = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}}, "required": ["city"]}
CLOSED = {**CITY, "additionalProperties": False}


def tool(name: str, parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS = [tool("weather", CLOSED), tool("say", {"$ref": "#/$defs/p", "$defs": {"p": PERSON}})]
PARAMETERS = {"weather": CLOSED, "say": PERSON}
THINKS = "{{ '<think>' if enable_thinking is not defined or enable_thinking else '<think></think>' }}"
OPENS = "{{ '<think>\\n' }}"
# ends in a text that the build takes for the end of every turn, so documents must not be cut there
SHORT = "{{ tools and '' }}{{ messages[-1].content }}{{ messages[-1].tool_calls and '' }}:"


def answer(chunks: Iterable[Chunk]) -> tuple[Answer, Ending]:
    whole = Answer()
    for chunk in chunks:
        whole.add(chunk)
    assert whole.ending is not None
    return whole, whole.ending


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models whose prompts leave thinking to them, open it, or have it switched off."""
    home = tmp_path_factory.mktemp("forms")
    templates = {"plain": SHORT, "opens": SHORT + OPENS, "switch": SHORT + THINKS}
    return {name: write_model(home / name, template=template) for name, template in templates.items()}


def with_facts(folder: Path, **facts: Any) -> LoadedModel:
    model = LoadedModel(folder)
    known = json.loads(model.facts.to_json())
    model.facts = ModelFacts.from_json(json.dumps({**known, **facts}).encode())
    return model


THINKING = {"think_start": "<think>", "think_end": "</think>"}
CALLING = {
    "takes_tools": True,
    "tool_parser": "json_tools",
    "tool_call_start": "<tool_call>",
    "tool_call_end": "</tool_call>",
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("name", "facts", "think"),
    [
        ("plain", {}, None),
        ("plain", THINKING, None),
        ("opens", THINKING, None),
        ("switch", {**THINKING, "thinking_switch": "enable_thinking"}, False),
        ("plain", {"think_start": "<thought>", "think_end": "</thought>"}, None),
    ],
)
def test_an_answer_has_its_format_however_the_model_thinks(
    folders: dict[str, Path], name: str, facts: dict[str, Any], think: bool | None, seed: int
) -> None:
    model = with_facts(folders[name], **facts)
    made, ending = answer(
        model.chat(USER, format=AnswerFormat(PERSON), think=think, seed=seed, temperature=1.5, max_tokens=300)
    )
    if ending.reason == "stop":
        jsonschema.validate(json.loads(made.text), PERSON)
    else:
        assert ending.answer_tokens == 300
        assert name != "switch"
    assert "think" not in made.text


def test_a_thought_that_the_prompt_opened_must_end_before_the_document(folders: dict[str, Path]) -> None:
    model = with_facts(folders["opens"], **THINKING)
    made, ending = answer(model.chat(USER, format=AnswerFormat(PERSON), temperature=1.0, seed=3, max_tokens=60))
    assert ending.reason == "length"
    assert made.text == ""
    assert made.thinking


def test_any_object_is_an_object(folders: dict[str, Path]) -> None:
    model = with_facts(folders["plain"], think_start=None, think_end=None)
    ends = 0
    for seed in range(8):
        made, ending = answer(model.chat(USER, format=AnswerFormat(), temperature=1.5, seed=seed, max_tokens=400))
        if ending.reason == "stop":
            assert isinstance(json.loads(made.text), dict)
            ends += 1
    assert ends


def test_greedy_answers_and_raw_prompts_have_their_format_too(folders: dict[str, Path]) -> None:
    model = LoadedModel(folders["plain"])
    schema = {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4}
    made, ending = answer(model.generate("hello", format=AnswerFormat(schema), max_tokens=100, repeat_penalty=1.3))
    assert ending.reason == "stop"
    jsonschema.validate(json.loads(made.text), schema)


def test_a_stop_text_cuts_a_document_and_says_so(folders: dict[str, Path]) -> None:
    model = with_facts(folders["plain"], think_start=None, think_end=None)
    made, ending = answer(model.chat(USER, format=AnswerFormat(CLOSED), stops=["city"], max_tokens=100))
    assert (ending.reason, ending.stop) == ("stop", "city")
    assert made.text.strip().startswith("{")
    _, ending = answer(model.chat(USER, format=AnswerFormat(CLOSED), max_tokens=3))
    assert ending.reason == "length"


@pytest.mark.parametrize("seed", range(4))
def test_a_required_call_is_made_with_arguments_of_its_schema(folders: dict[str, Path], seed: int) -> None:
    model = with_facts(folders["plain"], **CALLING, think_start=None, think_end=None)
    options: dict[str, Any] = {"seed": seed, "temperature": 1.0, "max_tokens": 400}
    made, ending = answer(model.chat(USER, tools=TOOLS, tool_choice=ToolChoice("required"), **options))
    if ending.reason != "length":
        assert ending.reason == "tool_calls"
    assert made.tool_calls
    for call in made.tool_calls:
        jsonschema.validate(dict(call.arguments), PARAMETERS[call.name])
    named = ToolChoice("required", "weather")
    made, ending = answer(model.chat(USER, tools=TOOLS, tool_choice=named, **options))
    assert ending.reason == "tool_calls"
    (call,) = made.tool_calls
    assert call.name == "weather"
    assert made.text == ""


def test_one_call_only_where_several_are_not_allowed(folders: dict[str, Path]) -> None:
    model = with_facts(folders["plain"], **CALLING, think_start=None, think_end=None)
    called = 0
    for seed in range(12):
        choice = ToolChoice("required" if seed % 2 else "auto", allows_several=False)
        made, _ = answer(
            model.chat(USER, tools=TOOLS[:1], tool_choice=choice, temperature=1.5, seed=seed, max_tokens=150)
        )
        assert len(made.tool_calls) <= 1
        called += len(made.tool_calls)
    assert called >= 6


def test_with_tools_and_a_format_the_answer_is_a_call_or_has_the_format(folders: dict[str, Path]) -> None:
    model = with_facts(folders["plain"], **CALLING, think_start=None, think_end=None)
    kinds = set[str]()
    for seed in range(12):
        options: dict[str, Any] = {"seed": seed, "temperature": 2.0, "max_tokens": 300}
        made, ending = answer(model.chat(USER, tools=TOOLS[:1], format=AnswerFormat(PERSON), **options))
        kinds.add(ending.reason)
        if ending.reason == "stop":
            jsonschema.validate(json.loads(made.text), PERSON)
        elif ending.reason == "tool_calls":
            assert made.text == ""
    assert {"stop", "tool_calls"} <= kinds


@pytest.mark.parametrize(
    ("parser", "start", "end"),
    [
        ("mistral", "[TOOL_CALLS]", ""),
        ("kimi_k2", "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
    ],
)
def test_other_forms_of_calls_are_written_as_they_are_read(
    folders: dict[str, Path], parser: str, start: str, end: str
) -> None:
    facts = {"takes_tools": True, "tool_parser": parser, "tool_call_start": start, "tool_call_end": end}
    model = with_facts(folders["plain"], **facts)
    for seed in range(3):
        choice = ToolChoice("required", allows_several=seed > 0)
        made, ending = answer(
            model.chat(USER, tools=TOOLS[:1], tool_choice=choice, temperature=1.0, seed=seed, max_tokens=250)
        )
        if ending.reason == "length":
            continue
        assert ending.reason == "tool_calls"
        for call in made.tool_calls:
            jsonschema.validate(dict(call.arguments), CLOSED)


def test_a_tool_choice_of_none_calls_nothing(folders: dict[str, Path]) -> None:
    model = with_facts(folders["plain"], **CALLING)
    made, _ = answer(model.chat(USER, tools=TOOLS, tool_choice=ToolChoice("none"), max_tokens=8))
    assert made.tool_calls == []


def test_what_cannot_be_held_is_refused_before_the_first_chunk(folders: dict[str, Path]) -> None:
    model = with_facts(folders["plain"], **CALLING)
    with pytest.raises(FormatNotSupported, match="Unimplemented"):
        model.chat(USER, format=AnswerFormat({"not": {}}))
    with pytest.raises(InvalidSchema):
        model.chat(USER, format=AnswerFormat({"type": 7}))
    with pytest.raises(FormatNotSupported, match="`fly`, is not among"):
        model.chat(USER, tools=TOOLS, tool_choice=ToolChoice("required", "fly"))
    with pytest.raises(FormatNotSupported, match="no tools"):
        model.chat(USER, tool_choice=ToolChoice("required"))
    with pytest.raises(FormatNotSupported, match="Unimplemented"):
        model.chat(USER, tools=[tool("f", {"not": {}})], tool_choice=ToolChoice("required"))
    with pytest.raises(FormatNotSupported, match="`gemma4` has no grammar"):
        with_facts(folders["plain"], **{**CALLING, "tool_parser": "gemma4"}).chat(
            USER, tools=TOOLS, tool_choice=ToolChoice("required")
        )
    with pytest.raises(FormatNotSupported, match="not known how"):
        with_facts(folders["plain"], **{**CALLING, "tool_parser": None}).chat(
            USER, tools=TOOLS, tool_choice=ToolChoice("required")
        )
