"""The request bodies of `/v1/messages` and of its token count; `request` turns them into a request to the model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from mlxbuild.runtime.server.anthropic.blocks import MessageBody, TextBlock
from mlxbuild.runtime.server.anthropic.tools import Tool
from mlxbuild.runtime.server.bodies.request_body import RequestBody


class AutoChoice(RequestBody):
    """`auto` lets the model choose whether to call tools; `any` requires at least one call."""

    type: Literal["auto", "any"]
    disable_parallel_tool_use: bool | None = None


class NamedChoice(RequestBody):
    """The one tool that has to be called."""

    type: Literal["tool"]
    name: Annotated[str, Field(min_length=1)]
    disable_parallel_tool_use: bool | None = None


class NoChoice(RequestBody):
    """No tool may be called."""

    type: Literal["none"]


AnyToolChoice = Annotated[AutoChoice | NamedChoice | NoChoice, Field(discriminator="type")]


class ThinkingOn(RequestBody):
    """Thinking is on."""

    type: Literal["enabled"]
    budget_tokens: Annotated[int, Field(ge=1)] | None = None
    """Accepted but not enforced: only `max_tokens` bounds thinking and answer."""


class ThinkingAdaptive(RequestBody):
    """The model decides whether to think."""

    type: Literal["adaptive"]


class ThinkingOff(RequestBody):
    """Thinking is off."""

    type: Literal["disabled"]


AnyThinking = Annotated[ThinkingOn | ThinkingAdaptive | ThinkingOff, Field(discriminator="type")]


class OutputFormat(RequestBody):
    """A JSON Schema that the answer has to match."""

    type: Literal["json_schema"]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class OutputConfiguration(RequestBody):
    """The effort and the format of the answer."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class PromptBody(RequestBody):
    """`POST /v1/messages/count_tokens`: the fields that determine the prompt."""

    model: Annotated[str, Field(min_length=1)]
    messages: Annotated[list[MessageBody], Field(min_length=1)]
    system: str | list[TextBlock] | None = None
    tools: list[Tool] | None = None
    tool_choice: AnyToolChoice | None = None
    thinking: AnyThinking | None = None
    output_config: OutputConfiguration | None = None


class MessagesBody(PromptBody):
    """`POST /v1/messages`."""

    max_tokens: Annotated[int, Field(ge=1)]
    stream: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    stop_sequences: list[Annotated[str, Field(min_length=1)]] | None = None
    metadata: dict[str, Any] | None = None
    """Accepted, and ignored."""
    keep_alive: float | str | None = None
    """An extension: how long the model stays in memory afterwards, as seconds or a string such as `5m`."""
