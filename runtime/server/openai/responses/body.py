"""The request body of a response, and its conversion to a request to the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ModelWrapValidatorHandler, PrivateAttr, model_validator

from mlxbuild.runtime.protocol.requests import AnswerFormat, ChatRequest
from mlxbuild.runtime.server.bodies.request_body import RequestBody, refused
from mlxbuild.runtime.server.openai.effort import Effort, thinking
from mlxbuild.runtime.server.openai.formats import JsonFormat, JsonSchema, TextFormat
from mlxbuild.runtime.server.openai.responses.callable_tools import CallableTools
from mlxbuild.runtime.server.openai.responses.conversation import conversation
from mlxbuild.runtime.server.openai.responses.items import AnyItem
from mlxbuild.runtime.server.openai.responses.tools import AnyTool, AnyToolChoice
from mlxbuild.runtime.server.openai.sampling import MaxTokens, SamplingBody, bound, given
from mlxbuild.runtime.server.openai.template_fields import ThinkingBody

SCORES = "message.output_text.logprobs"
SEALED_REASONING = "reasoning.encrypted_content"


class SchemaFormat(JsonSchema):
    """The response format for a JSON Schema."""

    type: Literal["json_schema"]


class TextSettings(RequestBody):
    """The response format of the text."""

    format: Annotated[TextFormat | JsonFormat | SchemaFormat, Field(discriminator="type")] | None = None


class ReasoningSettings(RequestBody):
    """The reasoning effort; the reasoning is always returned in full, whatever `summary` says."""

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
    """`message.output_text.logprobs` and `reasoning.encrypted_content` are supported; others are ignored."""
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    store: bool | None = None
    """Whether the response is stored for a while; the reply says whether it is."""
    metadata: dict[str, str] | None = None
    previous_response_id: str | None = None
    conversation: Annotated[None, refused("no conversation is kept: send all of it as input")] = None
    prompt: Annotated[None, refused("no prompt is kept: send it as input")] = None
    background: Annotated[Literal[False] | None, refused("nothing is answered in the background")] = None
    _given_input: Any = PrivateAttr()

    @model_validator(mode="wrap")
    @classmethod
    def _keeping_input(cls, given: Any, validated: ModelWrapValidatorHandler[Self]) -> Self:
        body = validated(given)
        body._given_input = given["input"]
        return body

    @property
    def given_input(self) -> Any:
        """The input as it was sent, with its unknown items and fields."""
        return self._given_input

    def wants_scores(self) -> bool:
        """Whether log-probabilities of the text are requested."""
        return SCORES in (self.include or ()) or bool(self.top_logprobs)

    def wants_sealed_reasoning(self) -> bool:
        """Whether encrypted reasoning, which only this server can read, is requested."""
        return SEALED_REASONING in (self.include or ())

    def callable_tools(self) -> CallableTools:
        """The tools that the model may call.

        Raises:
            InvalidRequest: two tools have the same name.
        """
        return CallableTools.of(self.tools or ())


def response_request(
    body: ResponseBody, items: Sequence[AnyItem] | None = None, before: Sequence[AnyItem] = ()
) -> ChatRequest:
    """The request to the model; `items` are those of the body with references resolved, and `before` earlier ones.

    Raises:
        InvalidRequest: a field is wrong; the error names it.
        NotSupported: the body asks for something that this server cannot do.
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
    """Thinking off, on or an effort, and the field that sets it; None leaves it to the model."""
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
