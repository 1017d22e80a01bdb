"""The input items of a response, and the conversation that a chat template is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from runtime.protocol.requests import Message
from runtime.server.openai.parts import MediaPart, RefusalPart, TextPart, text_of
from runtime.server.openai.tools import parsed_arguments
from runtime.server.request_body import RequestBody


class ItemText(TextPart):
    """A text of a message or of a tool's result."""

    type: Literal["input_text", "output_text"]


class ItemMedia(MediaPart):
    """A picture, sound or file."""

    type: Literal["input_image", "input_file", "input_audio"]


Content = str | list[Annotated[ItemText | RefusalPart | ItemMedia, Field(discriminator="type")]]


class MessageItem(RequestBody):
    """A message; its type may be left out."""

    type: Literal["message"] | None = None
    role: Literal["system", "developer", "user", "assistant"]
    content: Content


class CallItem(RequestBody):
    """A call that a model made."""

    type: Literal["function_call"]
    call_id: Annotated[str, Field(min_length=1)]
    name: Annotated[str, Field(min_length=1)]
    arguments: str
    """A JSON object, as text."""


class CallOutputItem(RequestBody):
    """What a tool gave back."""

    type: Literal["function_call_output"]
    call_id: Annotated[str, Field(min_length=1)]
    output: Content


class ReasoningText(RequestBody):
    """A part of what a model thought."""

    type: Literal["summary_text", "reasoning_text"]
    text: str


class ReasoningItem(RequestBody):
    """What a model thought before the items that follow."""

    type: Literal["reasoning"]
    summary: list[ReasoningText] | None = None
    content: list[ReasoningText] | None = None

    def text(self) -> str:
        """The whole of it; the content where there is one."""
        return "\n".join(part.text for part in self.content or self.summary or ())


def _kind(item: Any) -> Any:
    kind = item.get("type") if isinstance(item, Mapping) else getattr(item, "type", None)
    return "message" if kind is None else kind


AnyItem = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[CallItem, Tag("function_call")]
    | Annotated[CallOutputItem, Tag("function_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")],
    Discriminator(_kind),
]


def conversation(instructions: str | None, items: str | Sequence[AnyItem]) -> tuple[Message, ...]:
    """The items as messages. What the assistant thought, said and called in one go becomes one message.

    Raises:
        InvalidRequest: a call whose arguments are no JSON object.
        NotSupported: a part that is no text.
    """
    messages: list[dict[str, Any]] = []
    if instructions:
        messages.append({"role": "system", "content": instructions})
    if isinstance(items, str):
        return (*messages, {"role": "user", "content": items})
    names: dict[str, str] = {}
    for number, item in enumerate(items):
        place = f"input[{number}]"
        match item:
            case MessageItem(role="assistant"):
                turn = _open_turn(messages, begins=bool(messages and messages[-1]["content"]))
                turn["content"] += text_of(item.content, f"{place}.content")
            case MessageItem():
                role = "system" if item.role == "developer" else item.role
                messages.append({"role": role, "content": text_of(item.content, f"{place}.content")})
            case ReasoningItem():
                _open_turn(messages, begins=True)["reasoning_content"] = item.text()
            case CallItem():
                function = {"name": item.name, "arguments": parsed_arguments(item.arguments, f"{place}.arguments")}
                call = {"id": item.call_id, "type": "function", "function": function}
                _open_turn(messages).setdefault("tool_calls", []).append(call)
                names[item.call_id] = item.name
            case CallOutputItem():
                result = {
                    "role": "tool",
                    "tool_call_id": item.call_id,
                    "content": text_of(item.output, f"{place}.output"),
                }
                messages.append(result | ({"name": names[item.call_id]} if item.call_id in names else {}))
    return tuple(messages)


def _open_turn(messages: list[dict[str, Any]], *, begins: bool = False) -> dict[str, Any]:
    """The assistant's message that is being put together."""
    if begins or not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": ""})
    return messages[-1]
