"""The request body of a chat completion; its messages are in `messages`, and `request` converts it for the model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mlxbuild.runtime.server.bodies.request_body import RequestBody, refused
from mlxbuild.runtime.server.inference.tool_choice import Mode
from mlxbuild.runtime.server.openai.chat.messages import AnyMessage
from mlxbuild.runtime.server.openai.effort import Effort, Reasoning
from mlxbuild.runtime.server.openai.refused_fields import RefusedFields
from mlxbuild.runtime.server.openai.sampling import MaxTokens, PenaltiesBody, StreamOptions
from mlxbuild.runtime.server.openai.structured_outputs import StructuredOutputsBody
from mlxbuild.runtime.server.openai.template_fields import TemplateBody
from mlxbuild.runtime.server.openai.tools import Allowed, Function, NamedFunction


class Tool(RequestBody):
    """A tool, which the client runs; this server runs none itself."""

    type: Literal["function"]
    function: Function


class NamedTool(RequestBody):
    """The one tool that has to be called."""

    type: Literal["function"]
    function: NamedFunction


class AllowedTools(RequestBody):
    """The tools that may be called, by name."""

    mode: Literal["auto", "required"]
    tools: list[Allowed]


class AllowedToolsChoice(RequestBody):
    """A tool choice that allows only some of the tools."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


AnyToolChoice = Mode | Annotated[NamedTool | AllowedToolsChoice, Field(discriminator="type")]


class ChatBody(PenaltiesBody, StructuredOutputsBody, TemplateBody, RefusedFields):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[AnyMessage], Field(min_length=1)]
    stream_options: StreamOptions | None = None
    max_completion_tokens: MaxTokens | None = None
    max_tokens: MaxTokens | None = None
    """The older name of `max_completion_tokens`, which takes precedence."""
    tools: list[Tool] | None = None
    tool_choice: AnyToolChoice | None = None
    parallel_tool_calls: bool | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    reasoning_effort: Effort | None = None
    reasoning: Reasoning | None = None
    modalities: list[Literal["text"]] | None = None
    functions: Annotated[None, refused("use `tools` instead")] = None
    function_call: Annotated[None, refused("use `tool_choice` instead")] = None
    web_search_options: Annotated[None, refused("this server does not search the web")] = None
    audio: Annotated[None, refused("this server does not generate audio")] = None
