"""Messages and tool calls in the native API's format, and their conversion for chat templates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import Field

from mlxbuild.runtime.protocol.events import ToolCall
from mlxbuild.runtime.protocol.requests import Message
from mlxbuild.runtime.server.inference.ids import call_id
from mlxbuild.runtime.server.inference.tool_arguments import parsed_arguments
from mlxbuild.runtime.server.ollama.body import NativeBody


class FunctionBody(NativeBody):
    """The function and the arguments of a tool call."""

    name: str = ""
    arguments: dict[str, Any] | str = Field(default_factory=dict)
    """An object; a string with JSON is accepted, too."""


class ToolCallBody(NativeBody):
    """A tool call that the model made earlier."""

    id: str = ""
    function: FunctionBody = Field(default_factory=FunctionBody)


class MessageBody(NativeBody):
    """One message of a conversation."""

    role: str = ""
    content: str = ""
    thinking: str = ""
    images: list[str] = Field(default_factory=list)
    tool_calls: list[ToolCallBody] = Field(default_factory=list)
    tool_name: str = ""
    tool_call_id: str = ""


def conversation(bodies: Sequence[MessageBody]) -> tuple[Message, ...]:
    """Convert the messages for chat templates."""
    names = {call.id: call.function.name for body in bodies for call in body.tool_calls if call.id}
    return tuple(_message(body, names) for body in bodies)


def _message(body: MessageBody, names: Mapping[str, str]) -> Message:
    message: dict[str, Any] = {"role": body.role.lower(), "content": body.content}
    if body.thinking:
        message["reasoning_content"] = body.thinking
    if body.tool_calls:
        message["tool_calls"] = [_call(call) for call in body.tool_calls]
    if name := body.tool_name or names.get(body.tool_call_id, ""):
        message["name"] = name
    if body.tool_call_id:
        message["tool_call_id"] = body.tool_call_id
    return message


def _call(body: ToolCallBody) -> dict[str, Any]:
    arguments = body.function.arguments
    if isinstance(arguments, str):
        arguments = parsed_arguments(arguments)
    function = {"name": body.function.name, "arguments": arguments}
    return ({"id": body.id} if body.id else {}) | {"type": "function", "function": function}


def written_calls(calls: Iterable[ToolCall], first_index: int) -> list[dict[str, Any]]:
    """Tool calls in the format of responses, where `arguments` is an object."""
    return [
        {
            "id": call_id(),
            "function": {"index": index, "name": call.name, "arguments": dict(call.arguments)},
        }
        for index, call in enumerate(calls, first_index)
    ]
