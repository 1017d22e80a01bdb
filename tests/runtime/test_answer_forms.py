"""Answers of whole models in a form: formats and forced tool calls, with thinking, stops, tools and bounds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlxbuild.runtime.engine.core.options import InvalidOption
from mlxbuild.runtime.engine.structured_output.errors import FormatNotSupported, InvalidSchema
from mlxbuild.runtime.engine.structured_output.grammar import ConstraintFailed
from mlxbuild.runtime.loaded_model import LoadedModel
from mlxbuild.runtime.model.facts import ModelFacts
from mlxbuild.runtime.protocol.answers import Answer
from mlxbuild.runtime.protocol.events import Chunk, GenerationFinished
from mlxbuild.runtime.protocol.requests import AnswerFormat, ToolChoice
from tests.runtime.engine.schema_walks import SCHEMAS, with_reference
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
LIST = {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4}
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


def answer(chunks: Iterable[Chunk]) -> tuple[Answer, GenerationFinished]:
    whole = Answer()
    for chunk in chunks:
        whole.add(chunk)
    assert whole.finish is not None
    return whole, whole.finish


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
    made, finish = answer(
        model.chat(USER, format=AnswerFormat(PERSON), think=think, seed=seed, temperature=1.5, max_tokens=300)
    )
    if finish.reason == "stop":
        jsonschema.validate(json.loads(made.text), PERSON)
    else:
        assert finish.answer_tokens == 300
        assert name != "switch"
    assert "think" not in made.text


def test_a_thought_that_the_prompt_opened_must_end_before_the_document(folders: dict[str, Path]) -> None:
    model = with_facts(folders["opens"], **THINKING)
    made, finish = answer(model.chat(USER, format=AnswerFormat(PERSON), temperature=1.0, seed=3, max_tokens=60))
    assert finish.reason == "length"
    assert made.text == ""
    assert made.thinking


def at_once(ask: Callable[[int], Iterator[Chunk]], count: int) -> list[tuple[Answer, GenerationFinished]]:
    """The answers to several requests in one batch."""
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(lambda number: answer(ask(number)), range(count)))


def test_any_object_is_an_object(folders: dict[str, Path]) -> None:
    model = with_facts(folders["plain"], think_start=None, think_end=None)
    options = {"temperature": 1.5, "max_tokens": 300}
    made = at_once(lambda seed: model.chat(USER, format=AnswerFormat(), seed=seed, **options), 8)
    ended = [json.loads(whole.text) for whole, finish in made if finish.reason == "stop"]
    assert ended
    assert all(isinstance(document, dict) for document in ended)


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(SCHEMAS | SCHEMAS.map(with_reference), min_size=6, max_size=6))
def test_any_schema_is_held_or_refused_in_a_batch(folders: dict[str, Path], schemas: list[Any]) -> None:
    model = with_facts(folders["plain"], **THINKING)

    def ask(number: int) -> Answer | None:
        options: dict[str, Any] = {"seed": number, "temperature": 1.0, "max_tokens": 120}
        try:
            return answer(model.generate("x", format=schemas[number], **options))[0]
        except (FormatNotSupported, ConstraintFailed):
            return None

    with ThreadPoolExecutor(len(schemas)) as threads:
        answers = list(threads.map(ask, range(len(schemas))))
    for schema, made in zip(schemas, answers, strict=True):
        if made is not None and made.finish is not None and made.finish.reason == "stop":
            jsonschema.validate(json.loads(made.text), schema, cls=jsonschema.Draft202012Validator)


def test_greedy_answers_and_raw_prompts_have_their_format_too(folders: dict[str, Path]) -> None:
    model = LoadedModel(folders["plain"])
    made, finish = answer(model.generate("hello", format=AnswerFormat(LIST), max_tokens=100, repeat_penalty=1.3))
    assert finish.reason == "stop"
    jsonschema.validate(json.loads(made.text), LIST)


@pytest.mark.parametrize("form", [AnswerFormat(grammar='start: "yes" | "no"'), AnswerFormat({"enum": ["yes", "no"]})])
def test_a_raw_prompt_is_followed_by_its_form_without_white_space(folders: dict[str, Path], form: AnswerFormat) -> None:
    model = LoadedModel(folders["plain"])
    eager = {token: 100.0 for text in (" ", "\n") for token in model.tokenize(text)}
    made, finish = answer(model.generate("hello", format=form, logit_bias=eager, max_tokens=20))
    assert finish.reason == "stop"
    assert made.text.strip('"') in ("yes", "no")
    made, _ = answer(model.chat(USER, format=form, logit_bias=eager, max_tokens=20))
    assert made.text.strip('"') in ("yes", "no")


def test_a_stop_text_cuts_a_document_and_says_so(folders: dict[str, Path]) -> None:
    model = with_facts(folders["plain"], think_start=None, think_end=None)
    made, finish = answer(model.chat(USER, format=AnswerFormat(CLOSED), stops=["city"], max_tokens=100))
    assert (finish.reason, finish.stop) == ("stop", "city")
    assert made.text.strip().startswith("{")
    _, finish = answer(model.chat(USER, format=AnswerFormat(CLOSED), max_tokens=3))
    assert finish.reason == "length"


@pytest.mark.parametrize("seed", range(4))
def test_a_required_call_is_made_with_arguments_of_its_schema(folders: dict[str, Path], seed: int) -> None:
    model = with_facts(folders["plain"], **CALLING, think_start=None, think_end=None)
    options: dict[str, Any] = {"seed": seed, "temperature": 1.0, "max_tokens": 400}
    made, finish = answer(model.chat(USER, tools=TOOLS, tool_choice=ToolChoice("required"), **options))
    if finish.reason != "length":
        assert finish.reason == "tool_calls"
    assert made.tool_calls
    for call in made.tool_calls:
        jsonschema.validate(dict(call.arguments), PARAMETERS[call.name])
    named = ToolChoice("required", "weather")
    made, finish = answer(model.chat(USER, tools=TOOLS, tool_choice=named, **options))
    assert finish.reason == "tool_calls"
    (call,) = made.tool_calls
    assert call.name == "weather"
    assert made.text == ""


def test_one_call_only_where_several_are_not_allowed(folders: dict[str, Path]) -> None:
    model = with_facts(folders["plain"], **CALLING, think_start=None, think_end=None)

    def ask(seed: int) -> Iterator[Chunk]:
        choice = ToolChoice("required" if seed % 2 else "auto", allows_several=False)
        return model.chat(USER, tools=TOOLS[:1], tool_choice=choice, temperature=1.5, seed=seed, max_tokens=150)

    made = at_once(ask, 12)
    assert all(len(whole.tool_calls) <= 1 for whole, _ in made)
    assert sum(len(whole.tool_calls) for whole, _ in made) >= 6


def test_one_call_only_where_calls_begin_with_no_token_of_their_own(folders: dict[str, Path]) -> None:
    facts = {"takes_tools": True, "tool_parser": "bare_json", "tool_call_start": None, "tool_call_end": None}
    model = with_facts(folders["plain"], **facts, think_start=None, think_end=None)
    single = ToolChoice("auto", allows_several=False)
    _, finish = answer(model.chat(USER, tools=TOOLS[:1], tool_choice=single, max_tokens=8))
    assert finish.reason in ("length", "stop")
    with pytest.raises(FormatNotSupported, match="do not begin with a special token"):
        model.chat(USER, tools=TOOLS[:1], tool_choice=single, format=AnswerFormat(PERSON))


def test_parameters_that_are_no_object_are_refused(folders: dict[str, Path]) -> None:
    model = with_facts(folders["plain"], **CALLING)
    with pytest.raises(FormatNotSupported, match="of the tool `f` are of type 'array', not an object"):
        model.chat(USER, tools=[tool("f", {"type": "array"})], tool_choice=ToolChoice("required"))


def test_tokens_that_a_grammar_rules_out_are_no_alternatives(folders: dict[str, Path]) -> None:
    model = with_facts(folders["plain"], think_start=None, think_end=None)
    chunks = list(model.chat(USER, format=AnswerFormat({"enum": ["a", "b"]}), logprobs=True, top_logprobs=20))
    scores = [each for chunk in chunks for each in (chunk.score, *chunk.alternatives) if each is not None]
    assert scores
    assert all(math.isfinite(each.logprob) for each in scores)


def test_with_tools_and_a_format_the_answer_is_a_call_or_has_the_format(folders: dict[str, Path]) -> None:
    model = with_facts(folders["plain"], **CALLING, think_start=None, think_end=None)
    options = {"temperature": 2.0, "max_tokens": 250}
    made = at_once(
        lambda seed: model.chat(USER, tools=TOOLS[:1], format=AnswerFormat(PERSON), seed=seed, **options), 12
    )
    for whole, finish in made:
        if finish.reason == "stop":
            jsonschema.validate(json.loads(whole.text), PERSON)
        elif finish.reason == "tool_calls":
            assert whole.text == ""
    assert {"stop", "tool_calls"} <= {finish.reason for _, finish in made}


@pytest.mark.parametrize(
    ("parser", "start", "end"),
    [
        ("bare_json", None, None),
        ("mistral", "[TOOL_CALLS]", ""),
        ("kimi_k2", "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
    ],
)
def test_other_forms_of_calls_are_written_as_they_are_read(
    folders: dict[str, Path], parser: str, start: str | None, end: str | None
) -> None:
    facts = {"takes_tools": True, "tool_parser": parser, "tool_call_start": start, "tool_call_end": end}
    model = with_facts(folders["plain"], **facts)
    for seed in range(3):
        choice = ToolChoice("required", allows_several=seed > 0)
        made, finish = answer(
            model.chat(USER, tools=TOOLS[:1], tool_choice=choice, temperature=1.0, seed=seed, max_tokens=250)
        )
        if finish.reason == "length":
            continue
        assert finish.reason == "tool_calls"
        for call in made.tool_calls:
            jsonschema.validate(dict(call.arguments), CLOSED)


def test_answers_of_every_kind_share_a_batch_and_stay_what_they_are_alone(folders: dict[str, Path]) -> None:
    model = with_facts(folders["plain"], **CALLING, think_start=None, think_end=None)
    free = [{"seed": seed, "temperature": 1.0, "max_tokens": 60} for seed in range(3)]
    alone = [answer(model.chat(USER, **options))[0].text for options in free]

    def ask(number: int) -> tuple[str, Any]:
        options: dict[str, Any] = {"seed": number, "temperature": 1.0, "max_tokens": 250}
        match number % 4:
            case 0:
                return "free", answer(model.chat(USER, **free[number // 4]))
            case 1:
                return "format", answer(model.chat(USER, format=AnswerFormat(PERSON), **options))
            case 2:
                return "list", answer(model.generate("x", format=AnswerFormat(LIST), **options))
            case _:
                required = ToolChoice("required", "weather")
                return "call", answer(model.chat(USER, tools=TOOLS, tool_choice=required, **options))

    with ThreadPoolExecutor(12) as threads:
        made = list(threads.map(ask, range(12)))
    assert [answer.text for kind, (answer, _) in made if kind == "free"] == alone
    for kind, (whole, finish) in made:
        if kind == "format":
            assert finish.reason == "length" or not jsonschema.validate(json.loads(whole.text), PERSON)
        elif kind == "list":
            jsonschema.validate(json.loads(whole.text), LIST)
        elif kind == "call":
            assert [call.name for call in whole.tool_calls] == ["weather"]


def test_a_constraint_that_fails_ends_its_own_answer_only(folders: dict[str, Path]) -> None:
    model = with_facts(folders["plain"], think_start=None, think_end=None)
    stuck = {"type": "string", "pattern": "^\x01$"}  # can only be written by an escape that is not let through
    dead_end = AnswerFormat({"type": "object", "properties": {"a": stuck}, "required": ["a"]})
    with ThreadPoolExecutor(2) as threads:
        lost = threads.submit(lambda: answer(model.chat(USER, format=dead_end, max_tokens=200)))
        other = threads.submit(lambda: answer(model.chat(USER, format=AnswerFormat(CLOSED), max_tokens=200)))
        jsonschema.validate(json.loads(other.result()[0].text), CLOSED)
        with pytest.raises(ConstraintFailed, match="cannot go on in its response format"):
            lost.result()


def test_forms_are_written_as_plain_data_too(folders: dict[str, Path]) -> None:
    model = with_facts(folders["plain"], **CALLING, think_start=None, think_end=None)
    made, _ = answer(model.chat(USER, format=CLOSED, max_tokens=300))
    jsonschema.validate(json.loads(made.text), CLOSED)
    made, _ = answer(model.generate("x", format=CLOSED, max_tokens=300))
    jsonschema.validate(json.loads(made.text), CLOSED)
    made, finish = answer(model.chat(USER, tools=TOOLS, tool_choice="weather", max_tokens=200))
    assert ([call.name for call in made.tool_calls], finish.reason) == (["weather"], "tool_calls")
    wrong: Any = "yaml"
    with pytest.raises(InvalidOption, match="`format` cannot be 'yaml'"):
        model.chat(USER, format=wrong)


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
    with pytest.raises(FormatNotSupported, match="`unheard` has no grammar"):
        with_facts(folders["plain"], **{**CALLING, "tool_parser": "unheard"}).chat(
            USER, tools=TOOLS, tool_choice=ToolChoice("required")
        )
    with pytest.raises(FormatNotSupported, match="not known how"):
        with_facts(folders["plain"], **{**CALLING, "tool_parser": None}).chat(
            USER, tools=TOOLS, tool_choice=ToolChoice("required")
        )
