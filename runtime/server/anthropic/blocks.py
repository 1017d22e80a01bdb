"""The content blocks of messages, and their conversion to a conversation for the chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from mlxbuild.runtime.protocol.requests import Message
from mlxbuild.runtime.server.bodies.request_body import RequestBody
from mlxbuild.runtime.server.inference.text_only import not_taken


class TextBlock(RequestBody):
    """A text block."""

    type: Literal["text"]
    text: str


class MediaBlock(RequestBody):
    """A block that is not text; it is parsed so that it can be refused with a clear message."""

    type: Literal["image", "document", "search_result"]


class ThinkingBlock(RequestBody):
    """The model's thinking. Its signature is not checked."""

    type: Literal["thinking"]
    thinking: str


class RedactedThinkingBlock(RequestBody):
    """Encrypted thinking from another service; it cannot be read here, so the model does not get it."""

    type: Literal["redacted_thinking"]


class ToolUseBlock(RequestBody):
    """A tool call that the model made."""

    type: Literal["tool_use"]
    id: Annotated[str, Field(min_length=1)]
    name: Annotated[str, Field(min_length=1)]
    input: dict[str, Any]


_MEDIA = {"image": "images", "document": "documents", "search_result": "search results"}
ResultBlock = Annotated[TextBlock | MediaBlock, Field(discriminator="type")]


class ToolResultBlock(RequestBody):
    """The result of a tool call."""

    type: Literal["tool_result"]
    tool_use_id: Annotated[str, Field(min_length=1)]
    content: str | list[ResultBlock] | None = None
    is_error: bool | None = None


AnyBlock = Annotated[
    TextBlock | MediaBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock | ToolResultBlock,
    Field(discriminator="type"),
]


class MessageBody(RequestBody):
    """One message."""

    role: Literal["user", "assistant", "system"]
    content: str | list[AnyBlock]


def conversation(system: str | Sequence[TextBlock] | None, messages: Sequence[MessageBody]) -> tuple[Message, ...]:
    """Convert the messages for chat templates: every tool result becomes a message of its own, before the user's text.

    Raises:
        NotSupported: a block is an image, a document or a search result.
    """
    told: list[Message] = []
    if system:
        told.append({"role": "system", "content": system if isinstance(system, str) else _joined(system)})
    names: dict[str, str] = {}
    for number, message in enumerate(messages):
        if isinstance(message.content, str):
            told.append({"role": message.role, "content": message.content})
        else:
            told += _turn(message.role, message.content, f"messages[{number}].content", names)
    return tuple(told)


def _turn(role: str, blocks: Sequence[AnyBlock], place: str, names: dict[str, str]) -> list[Message]:
    texts: list[TextBlock] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    results: list[Message] = []
    for number, block in enumerate(blocks):
        match block:
            case TextBlock():
                texts.append(block)
            case MediaBlock():
                raise not_taken(_MEDIA[block.type], f"{place}[{number}]")
            case ThinkingBlock():
                thoughts.append(block.thinking)
            case ToolUseBlock():
                names[block.id] = block.name
                function = {"name": block.name, "arguments": block.input}
                calls.append({"id": block.id, "type": "function", "function": function})
            case ToolResultBlock():
                results.append(_result(block, f"{place}[{number}].content", names))
    if results and not (texts or thoughts or calls):
        return results
    message: dict[str, Any] = {"role": role, "content": _joined(texts)}
    if thoughts:
        message["reasoning_content"] = "\n".join(thoughts)
    if calls:
        message["tool_calls"] = calls
    return [*results, message]


def _result(block: ToolResultBlock, place: str, names: Mapping[str, str]) -> Message:
    content = block.content or ""
    if not isinstance(content, str):
        for number, part in enumerate(content):
            if isinstance(part, MediaBlock):
                raise not_taken(_MEDIA[part.type], f"{place}[{number}]")
        content = _joined([part for part in content if isinstance(part, TextBlock)])
    if block.is_error and not content.lower().startswith("error"):
        content = f"Error: {content}"
    message = {"role": "tool", "content": content, "tool_call_id": block.tool_use_id}
    name = names.get(block.tool_use_id)
    return message if name is None else {**message, "name": name}


def _joined(texts: Sequence[TextBlock]) -> str:
    return "\n".join(block.text for block in texts)
