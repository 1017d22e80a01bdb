"""The messages of a chat completion, and their conversion to a conversation for the chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from mlxbuild.runtime.protocol.requests import Message
from mlxbuild.runtime.server.bodies.request_body import RequestBody
from mlxbuild.runtime.server.failures import InvalidRequest
from mlxbuild.runtime.server.inference.tool_arguments import parsed_arguments
from mlxbuild.runtime.server.openai.parts import MediaPart, RefusalPart, TextPart, text_of


class ChatText(TextPart):
    """A text part."""

    type: Literal["text"]


class ChatMedia(MediaPart):
    """An image, audio or file part."""

    type: Literal["image_url", "input_audio", "file"]


Content = str | list[Annotated[ChatText | RefusalPart | ChatMedia, Field(discriminator="type")]]


class CalledFunction(RequestBody):
    """The function of a tool call that a model made."""

    name: Annotated[str, Field(min_length=1)]
    arguments: str
    """The arguments as a string with a JSON object."""


class Call(RequestBody):
    """A tool call with its id."""

    id: str | None = None
    type: Literal["function"] | None = None
    function: CalledFunction


class PlainMessage(RequestBody):
    """A message of the user, or an instruction; `developer` is the newer name of `system`."""

    role: Literal["system", "developer", "user"]
    content: Content
    name: str | None = None


class AssistantMessage(RequestBody):
    """An earlier answer of the model."""

    role: Literal["assistant"]
    content: Content | None = None
    name: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[Call] | None = None


class ToolMessage(RequestBody):
    """The result of a tool call."""

    role: Literal["tool"]
    content: Content
    tool_call_id: str | None = None
    name: str | None = None


AnyMessage = Annotated[PlainMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]


def conversation(messages: Sequence[AnyMessage]) -> tuple[Message, ...]:
    """Convert the messages for chat templates; a tool's result gets the name of the tool that was called.

    Raises:
        InvalidRequest: a message of the assistant has neither content nor tool calls.
        NotSupported: a part is not text.
    """
    names: dict[str, str] = {}
    return tuple(_translated(message, f"messages[{number}]", names) for number, message in enumerate(messages))


def _translated(message: AnyMessage, place: str, names: dict[str, str]) -> Message:
    match message:
        case PlainMessage():
            role = "system" if message.role == "developer" else message.role
            return _without_none(role=role, content=text_of(message.content, f"{place}.content"), name=message.name)
        case ToolMessage():
            name = message.name or names.get(message.tool_call_id or "")
            content = text_of(message.content, f"{place}.content")
            return _without_none(role="tool", content=content, tool_call_id=message.tool_call_id, name=name)
        case AssistantMessage():
            return _answer(message, place, names)


def _answer(message: AssistantMessage, place: str, names: dict[str, str]) -> Message:
    content = message.refusal if message.content is None else text_of(message.content, f"{place}.content")
    if content is None and not message.tool_calls:
        raise InvalidRequest("a message of the assistant has neither content nor tool calls", where=place)
    calls = []
    for call in message.tool_calls or ():
        function = {"name": call.function.name, "arguments": parsed_arguments(call.function.arguments)}
        calls.append(_without_none(id=call.id, type="function", function=function))
        names[call.id or ""] = call.function.name
    return _without_none(
        role="assistant",
        content=content or "",
        reasoning_content=message.reasoning_content or message.reasoning,
        tool_calls=calls or None,
        name=message.name,
    )


def _without_none(**fields: Any) -> Mapping[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
