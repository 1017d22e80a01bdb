"""Every tool call format of mlx-lm is parsed completely, after reasoning, and in pieces cut anywhere."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxbuild.runtime.engine.output.answer_parser import AnswerSplitter
from mlxbuild.runtime.mlx_lm.package import package_folder, submodule
from mlxbuild.runtime.model.facts import ModelFacts
from mlxbuild.runtime.protocol.answers import Answer
from mlxbuild.runtime.protocol.events import ToolCall

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "exact": {"type": "boolean"}},
                "required": ["city"],
            },
        },
    }
]
CITY = "São Paulo, SP"
CALL = ToolCall("get_weather", {"city": CITY, "days": 3})
SECOND = ToolCall("get_weather", {"city": "Oslo"})
JSON_CALL = f'{{"name": "get_weather", "arguments": {{"city": "{CITY}", "days": 3}}}}'
JSON_SECOND = '{"name": "get_weather", "arguments": {"city": "Oslo"}}'

ONE: dict[str, tuple[str, str]] = {
    "function_gemma": (
        f"<start_function_call>call:get_weather{{city:<escape>{CITY}<escape>,days:3}}<end_function_call>",
        "<start_function_call>call:get_weather{city:<escape>Oslo<escape>}<end_function_call>",
    ),
    "gemma4": (
        f'<|tool_call>call:get_weather{{city:<|"|>{CITY}<|"|>,days:3}}<tool_call|>',
        '<|tool_call>call:get_weather{city:<|"|>Oslo<|"|>}<tool_call|>',
    ),
    "glm47": (
        f"<tool_call>get_weather<arg_key>city</arg_key><arg_value>{CITY}</arg_value>"
        "<arg_key>days</arg_key><arg_value>3</arg_value></tool_call>",
        "<tool_call>get_weather<arg_key>city</arg_key><arg_value>Oslo</arg_value></tool_call>",
    ),
    "json_tools": (f"<tool_call>\n{JSON_CALL}\n</tool_call>", f"<tool_call>\n{JSON_SECOND}\n</tool_call>"),
    "kimi_k2": (
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:0<|tool_call_argument_begin|>"
        f'{{"city": "{CITY}", "days": 3}}<|tool_call_end|><|tool_calls_section_end|>',
        "<|tool_calls_section_begin|><|tool_call_begin|>functions.get_weather:1<|tool_call_argument_begin|>"
        '{"city": "Oslo"}<|tool_call_end|><|tool_calls_section_end|>',
    ),
    "kimi_k3": (
        '<|open|>tools<|sep|><|open|>call tool="get_weather" index="1"<|sep|>'
        f'<|open|>argument key="city" type="string"<|sep|>{CITY}<|close|>argument<|sep|>'
        '<|open|>argument key="days" type="integer"<|sep|>3<|close|>argument<|sep|>'
        "<|close|>call<|sep|><|close|>tools<|sep|>",
        '<|open|>tools<|sep|><|open|>call tool="get_weather" index="2"<|sep|>'
        '<|open|>json type="object"<|sep|>{"city": "Oslo"}<|close|>json<|sep|>'
        "<|close|>call<|sep|><|close|>tools<|sep|>",
    ),
    "laguna": (
        f"<tool_call>get_weather<arg_key>city</arg_key><arg_value>{CITY}</arg_value>\n"
        "<arg_key>days</arg_key>\n<arg_value>3</arg_value></tool_call>",
        "<tool_call>get_weather<arg_key>city</arg_key><arg_value>Oslo</arg_value></tool_call>",
    ),
    "longcat": (
        f"<longcat_tool_call>get_weather\n<longcat_arg_key>city</longcat_arg_key>\n"
        f"<longcat_arg_value>{CITY}</longcat_arg_value>\n<longcat_arg_key>days</longcat_arg_key>\n"
        "<longcat_arg_value>3</longcat_arg_value>\n</longcat_tool_call>",
        f"<longcat_tool_call>{JSON_SECOND}</longcat_tool_call>",
    ),
    "minicpm5": (
        f'<function name="get_weather"><param name="city">{CITY}</param><param name="days">3</param></function>',
        '<function name="get_weather"><param name="city"><![CDATA[Oslo]]></param></function>',
    ),
    "minimax_m2": (
        f'<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">{CITY}</parameter>\n'
        '<parameter name="days">3</parameter>\n</invoke>\n</minimax:tool_call>',
        '<minimax:tool_call>\n<invoke name="get_weather">\n<parameter name="city">Oslo</parameter>\n</invoke>\n'
        "</minimax:tool_call>",
    ),
    "muse_spark": (
        f'<atem:function_calls>\n<atem:invoke name="get_weather">\n<atem:parameter name="city">{CITY}'
        '</atem:parameter>\n<atem:parameter name="days">3</atem:parameter>\n</atem:invoke>\n</atem:function_calls>',
        '<atem:function_calls><atem:invoke name="get_weather"><atem:parameter name="city">Oslo</atem:parameter>'
        "</atem:invoke></atem:function_calls>",
    ),
    "pythonic": (
        f'<|tool_call_start|>[get_weather(city="{CITY}", days=3)]<|tool_call_end|>',
        "<|tool_call_start|>[get_weather(city='Oslo')]<|tool_call_end|>",
    ),
    "qwen3_coder": (
        f"<tool_call>\n<function=get_weather>\n<parameter=city>\n{CITY}\n</parameter>\n<parameter=days>\n3\n</parameter>\n"
        "</function>\n</tool_call>",
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nOslo\n</parameter>\n</function>\n</tool_call>",
    ),
    "mistral": (
        f'[TOOL_CALLS]get_weather[ARGS]{{"city": "{CITY}", "days": 3}}',
        '[TOOL_CALLS]get_weather[ARGS]{"city": "Oslo"}',
    ),
}
THINKING = (("<think>", "</think>"), ("<|channel>thought", "<channel|>"))


def facts_of(parser: str, think: tuple[str, str]) -> ModelFacts:
    module = submodule(f"tool_parsers.{parser}")
    return ModelFacts(
        "any",
        None,
        10,
        None,
        (1,),
        tool_parser=parser,
        tool_call_start=module.tool_call_start,
        tool_call_end=module.tool_call_end,
        think_start=think[0],
        think_end=think[1],
    )


def split(facts: ModelFacts, text: str, cuts: list[int], *, thinking: bool) -> Answer:
    places = sorted({cut % (len(text) + 1) for cut in cuts} | {0, len(text)})
    splitter = AnswerSplitter(facts, tools=TOOLS, thinking=thinking)
    answer = Answer()
    for begin, end in itertools.pairwise(places):
        for chunk in splitter.feed(text[begin:end]):
            answer.add(chunk)
    for chunk in splitter.finish():
        answer.add(chunk)
    assert splitter.called == bool(answer.tool_calls)
    return answer


def test_there_is_a_case_for_every_parser() -> None:
    parsers = {path.stem for path in (package_folder() / "tool_parsers").glob("*.py")} - {"__init__"}
    assert parsers == set(ONE)


@pytest.mark.parametrize("parser", sorted(ONE))
@settings(max_examples=60, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 1000), max_size=12),
    think=st.sampled_from(THINKING),
    opened=st.booleans(),
    said=st.sampled_from(["", "I will look. "]),
    several=st.booleans(),
)
def test_thinking_text_and_calls_come_out_however_they_are_cut(
    parser: str, cuts: list[int], think: tuple[str, str], opened: bool, said: str, several: bool
) -> None:
    first, second = ONE[parser]
    thought = f"{'' if opened else think[0]}\nLet me {{see}} <a>\n{think[1]}\n\n"
    text = thought + said + first + (f"\n{second}" if several else "")
    answer = split(facts_of(parser, think), text, cuts, thinking=opened)
    assert answer.thinking == "Let me {see} <a>"
    assert answer.text == said
    assert answer.tool_calls == [CALL, SECOND][: 1 + several]


@pytest.mark.parametrize("parser", sorted(ONE))
def test_cut_at_every_single_place(parser: str) -> None:
    text = f"<think>Hm</think>{ONE[parser][0]}"
    facts = facts_of(parser, THINKING[0])
    for place in range(len(text)):
        assert split(facts, text, [place], thinking=False).tool_calls == [CALL]
    letters = split(facts, text, list(range(len(text))), thinking=False)
    assert (letters.thinking, letters.text, letters.tool_calls) == ("Hm", "", [CALL])


@pytest.mark.parametrize("parser", sorted(ONE))
def test_a_call_that_is_cut_off_is_told_as_text_or_not_at_all(parser: str) -> None:
    whole = ONE[parser][0]
    facts = facts_of(parser, THINKING[0])
    for length in range(len(whole)):
        answer = split(facts, whole[:length], [3, 17, 40], thinking=False)
        if not answer.tool_calls:
            assert answer.text.strip() == whole[:length].strip()
