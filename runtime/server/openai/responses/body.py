"""The body of a response, and what is asked of the model for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from mlxbuild.runtime.protocol.requests import AnswerFormat, ChatRequest
from mlxbuild.runtime.server.openai.effort import Effort, thinking
from mlxbuild.runtime.server.openai.formats import JsonFormat, JsonSchema, TextFormat
from mlxbuild.runtime.server.openai.responses.callable_tools import CallableTools
from mlxbuild.runtime.server.openai.responses.conversation import conversation
from mlxbuild.runtime.server.openai.responses.items import AnyItem
from mlxbuild.runtime.server.openai.responses.tools import AnyTool, AnyToolChoice
from mlxbuild.runtime.server.openai.sampling import MaxTokens, SamplingBody, bound, given
from mlxbuild.runtime.server.openai.template_fields import ThinkingBody
from mlxbuild.runtime.server.request_body import RequestBody, refused

SCORES = "message.output_text.logprobs"
SEALED_REASONING = "reasoning.encrypted_content"


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


class ResponseBody(SamplingBody, ThinkingBody):
    """`POST /v1/responses`."""

    input: str | Annotated[list[AnyItem], Field(min_length=1)]
    instructions: str | None = None
    max_output_tokens: MaxTokens | None = None
    tools: list[AnyTool] | None = None
    tool_choice: AnyToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning: ReasoningSettings | None = None
    text: TextSettings | None = None
    truncation: Literal["auto", "disabled"] | None = None
    include: list[str] | None = None
    """`message.output_text.logprobs` and `reasoning.encrypted_content` are known; others are passed over."""
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    store: bool | None = None
    """Whether the response is kept for a while; replies say whether it is."""
    metadata: dict[str, str] | None = None
    previous_response_id: str | None = None
    conversation: Annotated[None, refused("no conversation is kept: send all of it as input")] = None
    prompt: Annotated[None, refused("no prompt is kept: send it as input")] = None
    background: Annotated[Literal[False] | None, refused("nothing is answered in the background")] = None

    def wants_scores(self) -> bool:
        """Whether the text comes with log-probabilities."""
        return SCORES in (self.include or ()) or bool(self.top_logprobs)

    def wants_sealed_reasoning(self) -> bool:
        """Whether what the model thought comes in a form, too, that only this server can read."""
        return SEALED_REASONING in (self.include or ())

    def callable_tools(self) -> CallableTools:
        """The tools that the model may call.

        Raises:
            InvalidRequest: two have the same name.
        """
        return CallableTools.of(self.tools or ())


def response_request(
    body: ResponseBody, items: Sequence[AnyItem] | None = None, before: Sequence[AnyItem] = ()
) -> ChatRequest:
    """What is asked of the model; `items` are those of the body, made whole, and `before` what went before them.

    Raises:
        InvalidRequest: with the field that is wrong.
        NotSupported: something that this server cannot do.
    """
    callable_tools = body.callable_tools()
    tools, choice = callable_tools.chosen(body.tool_choice, allows_several=body.parallel_tool_calls is not False)
    options = body.sampling() | given(
        max_tokens=bound(body.max_output_tokens),
        logprobs=body.wants_scores() or None,
        top_logprobs=body.top_logprobs or None,
    )
    return ChatRequest(
        messages=conversation(body.instructions, body.input if items is None else items, before),
        tools=tools,
        tool_choice=choice,
        text_grammars=callable_tools.text_grammars(),
        think=wanted_thinking(body)[0],
        template_variables=body.chat_template_kwargs or {},
        format=_format(body),
        options=options,
        context_tokens=body.context_tokens(),
        truncates=body.truncation == "auto",
    )


def wanted_thinking(body: ResponseBody) -> tuple[bool | str | None, str]:
    """Off, on or a level, with the field that says so; None leaves it to the model."""
    level = thinking(body.reasoning.effort if body.reasoning else None)
    return body.wanted_thinking() if level is None else (level, "reasoning.effort")


def _format(body: ResponseBody) -> AnswerFormat | None:
    match body.text.format if body.text else None:
        case SchemaFormat() as named:
            return AnswerFormat(named.schema_)
        case JsonFormat(schema_=schema):
            return AnswerFormat(schema)
        case _:
            return None
