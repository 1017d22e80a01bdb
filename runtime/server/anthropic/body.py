"""The bodies of `/v1/messages` and of its token count. What they mean to the model: `request`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from mlxbuild.runtime.server.anthropic.blocks import MessageBody, TextBlock
from mlxbuild.runtime.server.anthropic.tools import Tool
from mlxbuild.runtime.server.request_body import RequestBody


class AutoChoice(RequestBody):
    """The model chooses; `any` makes it call some tool."""

    type: Literal["auto", "any"]
    disable_parallel_tool_use: bool | None = None


class NamedChoice(RequestBody):
    """The one tool that has to be called."""

    type: Literal["tool"]
    name: Annotated[str, Field(min_length=1)]
    disable_parallel_tool_use: bool | None = None


class NoChoice(RequestBody):
    """No tool is called."""

    type: Literal["none"]


AnyToolChoice = Annotated[AutoChoice | NamedChoice | NoChoice, Field(discriminator="type")]


class ThinkingOn(RequestBody):
    """The model thinks first."""

    type: Literal["enabled"]
    budget_tokens: Annotated[int, Field(ge=1)] | None = None
    """Taken as a wish: the model is not told of it, and is stopped by `max_tokens` alone."""


class ThinkingAdaptive(RequestBody):
    """The model thinks where it finds that worth while."""

    type: Literal["adaptive"]


class ThinkingOff(RequestBody):
    """The model answers at once."""

    type: Literal["disabled"]


AnyThinking = Annotated[ThinkingOn | ThinkingAdaptive | ThinkingOff, Field(discriminator="type")]


class OutputFormat(RequestBody):
    """JSON that a schema allows."""

    type: Literal["json_schema"]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class OutputConfiguration(RequestBody):
    """How the answer is to be."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class PromptBody(RequestBody):
    """`POST /v1/messages/count_tokens`: everything that decides the prompt."""

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
    """Taken, and not used."""
    keep_alive: float | str | None = None
    """An extension: how long the model stays in memory afterwards, as seconds or a text such as `5m`."""
