"""What clients are told of fields that are wrong: plain English, with the place, and nothing of the validator's."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mlxbuild.runtime.server.anthropic.body import MessagesBody
from mlxbuild.runtime.server.bodies.validation import checked
from mlxbuild.runtime.server.failures import InvalidRequest
from mlxbuild.runtime.server.ollama.chat import ChatBody as NativeChatBody
from mlxbuild.runtime.server.openai.chat.body import ChatBody
from mlxbuild.runtime.server.openai.completions.body import CompletionBody
from mlxbuild.runtime.server.openai.embeddings.body import EmbeddingBody
from mlxbuild.runtime.server.openai.responses.body import ResponseBody

USER = {"role": "user", "content": "Hi"}
GOOD: dict[Any, dict[str, Any]] = {
    ChatBody: {"model": "m", "messages": [USER]},
    CompletionBody: {"model": "m", "prompt": "Hi"},
    EmbeddingBody: {"model": "m", "input": "Hi"},
    ResponseBody: {"model": "m", "input": "Hi"},
    MessagesBody: {"model": "m", "messages": [USER], "max_tokens": 5},
    NativeChatBody: {"model": "m", "messages": [USER]},
}
VALUES: list[Any] = [None, True, -5, 1.5, "x", "", [], [1], ["x"], {}, {"a": 1}, {"type": "x"}, [{"type": "x"}]]
INTERNALS = re.compile(
    r"_kind|pydantic|Input|instance|tuple|\bdict\b|None|NoneType|function-|Tag\b|\(\)|<|lambda|valid "
)


def refusal(body: Any, field: str, value: Any) -> tuple[str, InvalidRequest] | None:
    try:
        checked(body, {**GOOD[body], field: value})
    except InvalidRequest as error:
        return field, error
    return None


@pytest.mark.parametrize("body", GOOD, ids=lambda body: body.__name__)
def test_no_message_tells_of_the_validator(body: Any) -> None:
    told = [error for field in body.model_fields for value in VALUES if (error := refusal(body, field, value))]
    for field, error in told:
        assert not INTERNALS.search(error.message), error.message
        assert error.where, error.message
        assert error.where.startswith(field)
    assert len(told) > 20


@pytest.mark.parametrize(
    ("body", "fields", "message", "where"),
    [
        (ChatBody, {"messages": None}, "`messages` must be a list", "messages"),
        (ChatBody, {"model": ""}, "`model` must not be empty", "model"),
        (ChatBody, {"temperature": 3}, "`temperature` must be 2.0 or less", "temperature"),
        (ChatBody, {"temperature": "hot"}, "`temperature` must be a number", "temperature"),
        (ChatBody, {"messages": ["Hi"]}, "`messages[0]` must be an object", "messages[0]"),
        (ChatBody, {"messages": [{"content": "Hi"}]}, "`messages[0].role` is required", "messages[0].role"),
        (
            ChatBody,
            {"messages": [{**USER, "role": "robot"}]},
            "`messages[0].role` cannot be 'robot'; it must be 'system', 'developer', 'user', 'assistant' or 'tool'",
            "messages[0].role",
        ),
        (
            ChatBody,
            {"response_format": {"type": "xml"}},
            "`response_format.type` cannot be 'xml'; it must be 'text', 'json_object' or 'json_schema'",
            "response_format.type",
        ),
        (ChatBody, {"functions": []}, "`functions`: use `tools` instead", "functions"),
        (ChatBody, {"max_tokens": 0}, "`max_tokens`: an answer has at least one token; -1 sets no bound", "max_tokens"),
        (CompletionBody, {"n": 0}, "`n` must be 1 or more", "n"),
        (ResponseBody, {"input": [USER | {"role": "x"}]}, None, "input[0].role"),
        (MessagesBody, {"thinking": {}}, "`thinking.type` is required", "thinking.type"),
        (NativeChatBody, {"options": [1]}, "`options` must be an object", "options"),
    ],
)
def test_the_place_and_what_is_wanted_are_told(body: Any, fields: Any, message: str | None, where: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        checked(body, {**GOOD[body], **fields})
    assert refused.value.where == where
    if message is not None:
        assert refused.value.message == message
