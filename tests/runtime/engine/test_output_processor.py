"""Chunks of an answer's tokens; stop sequences apply to its text only, not to reasoning and tool calls."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mlxbuild.runtime.engine.core.options import Options
from mlxbuild.runtime.engine.core.output_processor import AnswerWriter
from mlxbuild.runtime.engine.core.prepared_request import Prepared
from mlxbuild.runtime.engine.output.answer_parser import AnswerSplitter
from mlxbuild.runtime.model.facts import ModelFacts
from mlxbuild.runtime.model.tokenizer import Tokenizer
from mlxbuild.runtime.protocol.answers import Answer
from tests.runtime.tiny_folders import byte_tokenizer

TOKENIZER = Tokenizer(byte_tokenizer())
FACTS = ModelFacts(
    "qwen3",
    None,
    300,
    None,
    (0,),
    tool_parser="json_tools",
    tool_call_start="<tool_call>",
    tool_call_end="</tool_call>",
    think_start="<think>",
    think_end="</think>",
)
CALL = '<tool_call>{"name": "f", "arguments": {"a": "one, two"}}</tool_call>'


def written(text: str, *stops: str, limit: int | None = None, **splitting: Any) -> Answer:
    splitter = AnswerSplitter(FACTS, **splitting)
    prepared = Prepared((1,), Options(stops=stops), stop_tokens=frozenset({0}), limit=limit, splitter=splitter)
    writer, answer = AnswerWriter(TOKENIZER, prepared), Answer()
    for token in [*TOKENIZER.encode(text), 0]:
        for chunk in writer.add(token):
            answer.add(chunk)
        if writer.reason is not None:
            return answer
    raise AssertionError("it did not end")


def told(answer: Answer) -> tuple[str, str, str, str | None]:
    assert answer.finish is not None
    return answer.thinking, answer.text, answer.finish.reason, answer.finish.stop


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("<think>one, two</think>three, four", (",",), ("one, two", "three", "stop", ",")),
        ("<think>one\n\ntwo</think>\n\nthree\n\nfour", ("\n\n",), ("one\n\ntwo", "three", "stop", "\n\n")),
        ("<think>STO</think>P", ("STOP",), ("STO", "P", "stop", None)),
        (f"So{CALL}", (",", "two"), ("", "So", "tool_calls", None)),
        (f"S{CALL}", ("Sx",), ("", "S", "tool_calls", None)),
        ("one ST", ("STOP",), ("", "one ST", "stop", None)),
        ("one STOP two", ("STOP",), ("", "one ", "stop", "STOP")),
        (f"{CALL}one, two", (",",), ("", "one", "tool_calls", ",")),
    ],
)
def test_stop_texts_look_at_the_text_alone(
    text: str, stops: tuple[str, ...], expected: tuple[str, str, str, str | None]
) -> None:
    assert told(written(text, *stops)) == expected


def test_a_call_that_is_cut_is_no_text_and_the_reason_stays() -> None:
    limit = len(TOKENIZER.encode(CALL)) - 20
    assert told(written(CALL, limit=limit)) == ("", "", "length", None)
    assert told(written(CALL, limit=limit, structured=True, requires_call=True)) == ("", "", "length", None)


def test_an_answer_ends_with_its_only_call() -> None:
    answer = written(f"{CALL}{CALL} and so on", allows_several=False)
    assert told(answer) == ("", "", "tool_calls", None)
    assert [json.dumps(dict(call.arguments)) for call in answer.tool_calls] == ['{"a": "one, two"}']
