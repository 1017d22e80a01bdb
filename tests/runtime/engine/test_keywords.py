"""Keyword arguments become a request, and unknown ones are reported with the known ones."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from mlxbuild.runtime.engine.core.options import InvalidOption, Options
from mlxbuild.runtime.engine.input.keywords import ChatKeywords, OptionKeywords, chat_request, completion_request
from mlxbuild.runtime.protocol.requests import AnswerFormat, ChatRequest, CompletionRequest, ToolChoice

USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "f"}}


def test_the_keywords_are_the_options() -> None:
    assert OptionKeywords.__annotations__.keys() == {field.name for field in fields(Options)}


def test_a_chat_that_asks_for_all() -> None:
    asked: ChatKeywords = {
        "tools": [TOOL],
        "tool_choice": "f",
        "think": "high",
        "system": "Be brief.",
        "format": {"type": "object"},
        "temperature": 0.5,
        "seed": None,
    }
    assert chat_request([USER], asked) == ChatRequest(
        (USER,),
        tools=(TOOL,),
        tool_choice=ToolChoice("required", "f"),
        think="high",
        system="Be brief.",
        format=AnswerFormat({"type": "object"}),
        options={"temperature": 0.5, "seed": None},
    )
    assert chat_request([USER], {}) == ChatRequest((USER,))


@pytest.mark.parametrize(
    ("written", "choice"),
    [
        (None, ToolChoice()),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        (ToolChoice("auto", allows_several=False), ToolChoice("auto", allows_several=False)),
    ],
)
def test_choices_of_tools(written: Any, choice: ToolChoice) -> None:
    assert chat_request([USER], {"tool_choice": written}).tool_choice == choice


def test_a_completion() -> None:
    asked = completion_request("Hi", {"format": "json", "max_tokens": 3})
    assert asked == CompletionRequest("Hi", format=AnswerFormat(), options={"max_tokens": 3})


def test_what_is_wrong() -> None:
    with pytest.raises(InvalidOption, match="`format` cannot be 'xml'"):
        completion_request("Hi", {"format": "xml"})  # type: ignore[typeddict-item]
    wrong: Any = {"temprature": 1}
    with pytest.raises(InvalidOption, match="no option `temprature`"):
        Options().changed(chat_request([USER], wrong).options)
