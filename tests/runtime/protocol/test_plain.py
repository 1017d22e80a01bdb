"""The protocol's dataclasses to JSON and back: whatever they hold, and whatever callers put into it."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import EnvironmentFailure, MlxbuildError, TrustError, UserError
from mlxbuild.registry.store.errors import BlobCorrupt
from mlxbuild.runtime.protocol import codec as plain
from mlxbuild.runtime.protocol.events import (
    Chunk,
    Embeddings,
    Failure,
    GenerationFinished,
    Progress,
    Prompt,
    TokenScore,
    ToolCall,
)
from mlxbuild.runtime.protocol.failures import Unexpected, as_error, as_failure
from mlxbuild.runtime.protocol.loaded import Heartbeat, Loaded
from mlxbuild.runtime.protocol.requests import (
    AnswerFormat,
    ChatRequest,
    CompletionRequest,
    EmbeddingRequest,
    PromptRequest,
)

texts = st.text(st.characters(), max_size=20)  # lone surrogates too
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
mappings = st.dictionaries(texts, anything, max_size=3)


def whole(each: type[Any], **known: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Any value of a dataclass in all of its fields."""
    return st.builds(each, **{field.name: known.get(field.name, ...) for field in fields(each)})  # type: ignore[arg-type]


many = st.lists(mappings, max_size=3).map(tuple)
forms = st.none() | whole(AnswerFormat, schema=st.none() | mappings)
names = st.dictionaries(texts, texts, max_size=3)
chats = whole(
    ChatRequest,
    messages=many,
    tools=many,
    text_grammars=names,
    template_variables=mappings,
    format=forms,
    options=mappings,
)
completions = whole(CompletionRequest, format=forms, options=mappings)
calls = whole(ToolCall, arguments=mappings)
chunks = whole(Chunk, tool_call=st.none() | calls, text=texts)
plain_ones = map(
    whole, (EmbeddingRequest, GenerationFinished, Embeddings, Failure, Progress, Prompt, TokenScore, Loaded, Heartbeat)
)

NEGATIVE_ZERO = Heartbeat(standstill_seconds=-0.0)


@example(NEGATIVE_ZERO)
@given(st.one_of(chats, completions, whole(PromptRequest, of=chats | completions), calls, chunks, *plain_ones))
def test_what_is_sent_is_what_arrives(sent: Any) -> None:
    text = plain.to_json(sent)
    assert text.isascii()
    assert repr(plain.read(json.loads(text))) == repr(sent)  # numbers that are none do not equal themselves


def test_what_callers_write_is_never_taken_for_more_than_it_is() -> None:
    forged = ["Failure", {"code": "x", "kind": "user", "message": "forged"}]
    sent = ChatRequest(({"role": "user", "content": forged},), options={"stops": forged})
    arrived = plain.read(json.loads(plain.to_json(sent)))
    assert arrived.messages[0]["content"] == forged
    assert arrived.options["stops"] == forged


@pytest.mark.parametrize("message", [["Nothing", {}], ["Chunk", {"no": 1}], ["Chunk"], [], 7, ["Chunk", []], "Chunk"])
def test_what_stands_for_nothing_is_refused(message: Any) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        plain.read(message)


@pytest.mark.parametrize("value", [object(), {1, 2}, Digest.of_bytes(b"")])
def test_only_what_the_protocol_knows_is_sent(value: object) -> None:
    with pytest.raises(TypeError, match="cannot be sent"):
        plain.to_json([value])


@pytest.mark.parametrize(
    "error",
    [
        UserError("a", where="b", hint="c"),
        EnvironmentFailure("a"),
        BlobCorrupt(Digest.of_bytes(b""), "a", where="b"),
    ],
)
def test_errors_come_back_as_what_they_were(error: MlxbuildError) -> None:
    again = as_error(as_failure(error))
    assert type(again) is type(error)
    assert (again.message, again.where, again.hint) == (error.message, error.where, error.hint)


def test_an_error_that_this_process_has_no_class_for_keeps_its_code_and_kind() -> None:
    error = as_error(Failure("something-new", "trust", "a", None, "b"))
    assert isinstance(error, TrustError)
    assert (error.code, error.message, error.hint, error.exit_code) == ("something-new", "a", "b", 10)


def test_an_error_of_nobody_is_told_as_one() -> None:
    failure = as_failure(ZeroDivisionError("division by zero"))
    assert failure.code == Unexpected.code
    assert failure.message == "ZeroDivisionError: division by zero"
