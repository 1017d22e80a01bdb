"""Turns keyword arguments of Python callers into requests. The options themselves are in `options`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict, cast

from mlxbuild.runtime.engine.core.options import InvalidOption
from mlxbuild.runtime.protocol.requests import AnswerFormat, ChatRequest, CompletionRequest, Message, ToolChoice

Format = AnswerFormat | Mapping[str, Any] | Literal["json"] | None
"""The response format: a JSON Schema, or any JSON object."""
TOOL_CHOICES = ("auto", "none", "required")
"""Any other text is the name of the only tool that may be called."""


class OptionKeywords(TypedDict, total=False):
    """The fields of `Options`. The artifact's default applies where one is not given, or None."""

    temperature: float | None
    top_p: float | None
    top_k: int | None
    min_p: float | None
    repeat_penalty: float | None
    repeat_last_n: int | None
    presence_penalty: float | None
    frequency_penalty: float | None
    counts_recent: bool | None
    logit_bias: Mapping[int, float] | None
    seed: int | None
    max_tokens: int | None
    min_tokens: int | None
    ignore_eos: bool | None
    stop_token_ids: Sequence[int] | None
    stops: str | Sequence[str] | None
    logprobs: bool | None
    top_logprobs: int | None
    kv_bits: int | None
    draft_tokens: int | None


class GenerateKeywords(OptionKeywords, total=False):
    """Keywords for any answer."""

    format: Format


class ConversationKeywords(GenerateKeywords, total=False):
    """Keywords for an answer to a conversation without tools."""

    think: bool | str | None
    system: str | None
    """Replaces the artifact's system prompt."""


class ChatKeywords(ConversationKeywords, total=False):
    """Keywords for an answer to a conversation."""

    tools: Sequence[Mapping[str, Any]] | None
    """Function schemas in OpenAI's format."""
    tool_choice: ToolChoice | str | None
    """`auto`, `none`, `required`, or the name of the tool that has to be called."""


def chat_request(messages: Sequence[Message], asked: ConversationKeywords) -> ChatRequest:
    """Options are validated later, when the request is prepared.

    Raises:
        InvalidOption: the format is not valid.
    """
    given = cast("ChatKeywords", asked)
    return ChatRequest(
        messages=tuple(messages),
        tools=tuple(given.get("tools") or ()),
        tool_choice=_tool_choice(given.get("tool_choice")),
        think=asked.get("think"),
        system=asked.get("system"),
        format=_format(asked.get("format")),
        options=_options(asked),
    )


def completion_request(prompt: str, asked: GenerateKeywords) -> CompletionRequest:
    """As `chat_request`, for a raw text."""
    return CompletionRequest(prompt, format=_format(asked.get("format")), options=_options(asked))


def _options(asked: Mapping[str, Any]) -> dict[str, Any]:
    """All other keywords, so that an unknown one is reported together with the known options."""
    others = (ChatKeywords.__annotations__.keys() - OptionKeywords.__annotations__.keys()) & asked.keys()
    return {name: value for name, value in asked.items() if name not in others}


def _format(written: Format) -> AnswerFormat | None:
    if written is None or isinstance(written, AnswerFormat):
        return written
    if isinstance(written, Mapping):
        return AnswerFormat(written)
    if written == "json":
        return AnswerFormat()
    raise InvalidOption(f"`format` cannot be {written!r}", hint='"json", or a JSON Schema as a map')


def _tool_choice(written: ToolChoice | str | None) -> ToolChoice:
    if isinstance(written, str):
        return ToolChoice(written) if written in TOOL_CHOICES else ToolChoice("required", written)
    return written or ToolChoice()
