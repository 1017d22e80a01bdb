"""The body of a response, and what is asked of the model for it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from runtime.protocol.requests import AnswerFormat, ChatRequest, ToolChoice
from runtime.server.openai.effort import Effort, thinking
from runtime.server.openai.formats import JsonFormat, JsonSchema, TextFormat
from runtime.server.openai.responses.items import AnyItem, conversation
from runtime.server.openai.sampling import SamplingBody, given
from runtime.server.openai.tools import Allowed, Function, FunctionName
from runtime.server.request_body import RequestBody, refused
from runtime.server.tool_choice import Mode, TemplateTool, chosen

SCORES = "message.output_text.logprobs"


class FunctionTool(Function):
    """One tool; this server calls none itself."""

    type: Literal["function"]
    strict: bool | None = None


class FunctionChoice(RequestBody):
    """The one tool that has to be called."""

    type: Literal["function"]
    name: FunctionName


class AllowedToolsChoice(RequestBody):
    """A choice among some of the tools."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[Allowed]


AnyToolChoice = Mode | Annotated[FunctionChoice | AllowedToolsChoice, Field(discriminator="type")]


class SchemaFormat(JsonSchema):
    """JSON that a schema allows."""

    type: Literal["json_schema"]


class TextSettings(RequestBody):
    """What the text is to be like."""

    format: Annotated[TextFormat | JsonFormat | SchemaFormat, Field(discriminator="type")] | None = None


class ReasoningSettings(RequestBody):
    """How much the model is to think; what it thought is always given whole."""

    effort: Effort | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class ResponseBody(SamplingBody):
    """`POST /v1/responses`."""

    input: str | Annotated[list[AnyItem], Field(min_length=1)]
    instructions: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: AnyToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning: ReasoningSettings | None = None
    text: TextSettings | None = None
    truncation: Literal["auto", "disabled"] | None = None
    include: list[str] | None = None
    """`message.output_text.logprobs` is known; others are passed over."""
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    store: bool | None = None
    """Nothing is ever stored; replies say so."""
    metadata: dict[str, str] | None = None
    previous_response_id: Annotated[None, refused("no response is kept: send the whole conversation as input")] = None
    conversation: Annotated[None, refused("no conversation is kept: send all of it as input")] = None
    prompt: Annotated[None, refused("no prompt is kept: send it as input")] = None
    background: Annotated[Literal[False] | None, refused("nothing is answered in the background")] = None

    def wants_scores(self) -> bool:
        """Whether the text comes with log-probabilities."""
        return SCORES in (self.include or ()) or bool(self.top_logprobs)


def response_request(body: ResponseBody) -> ChatRequest:
    """What is asked of the model.

    Raises:
        InvalidRequest: with the field that is wrong.
        NotSupported: something that this server cannot do.
    """
    tools, choice = _tools(body)
    options = body.sampling() | given(
        max_tokens=body.max_output_tokens,
        logprobs=body.wants_scores() or None,
        top_logprobs=body.top_logprobs or None,
    )
    return ChatRequest(
        messages=conversation(body.instructions, body.input),
        tools=tools,
        tool_choice=choice,
        think=thinking(body.reasoning.effort if body.reasoning else None),
        format=_format(body),
        options=options,
        context_tokens=body.context_tokens(),
        truncates=body.truncation == "auto",
    )


def _format(body: ResponseBody) -> AnswerFormat | None:
    match body.text.format if body.text else None:
        case SchemaFormat() as named:
            return AnswerFormat(named.schema_)
        case JsonFormat():
            return AnswerFormat()
        case _:
            return None


def _tools(body: ResponseBody) -> tuple[tuple[TemplateTool, ...], ToolChoice]:
    tools = [tool.as_template_tool() for tool in body.tools or ()]
    several = body.parallel_tool_calls is not False
    match body.tool_choice:
        case FunctionChoice(name=name):
            return chosen(tools, mode="required", name=name, allows_several=several)
        case AllowedToolsChoice(mode=mode, tools=some):
            names = [each.tool_name("tool_choice") for each in some]
            return chosen(tools, mode=mode, allowed=names, allows_several=several)
        case mode:
            return chosen(tools, mode=mode or "auto", allows_several=several)
