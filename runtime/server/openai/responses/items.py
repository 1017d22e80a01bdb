"""The input items of a response; `conversation` converts them for the chat template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from mlxbuild.runtime.server.bodies.request_body import RequestBody
from mlxbuild.runtime.server.openai.parts import MediaPart, RefusalPart, TextPart

Id = Annotated[str, Field(min_length=1)]


class ItemText(TextPart):
    """A text part of a message or of a tool's result."""

    type: Literal["input_text", "output_text"]


class ItemMedia(MediaPart):
    """An image, file or audio part."""

    type: Literal["input_image", "input_file", "input_audio"]


Content = str | list[Annotated[ItemText | RefusalPart | ItemMedia, Field(discriminator="type")]]


class MessageItem(RequestBody):
    """A message; its `type` may be left out."""

    type: Literal["message"] | None = None
    role: Literal["system", "developer", "user", "assistant"]
    content: Content


class CallItem(RequestBody):
    """A function call that a model made."""

    type: Literal["function_call"]
    call_id: Id
    name: Id
    namespace: str | None = None
    arguments: str
    """The arguments as a string with a JSON object."""


class CustomCallItem(RequestBody):
    """A call of a custom tool."""

    type: Literal["custom_tool_call"]
    call_id: Id
    name: Id
    namespace: str | None = None
    input: str


class ActionItem(RequestBody):
    """A call of a built-in tool that has an item type of its own, made by another model."""

    type: Literal["local_shell_call", "shell_call", "apply_patch_call"]
    call_id: Id | None = None
    action: dict[str, Any] | None = None
    operation: dict[str, Any] | None = None


class CallOutputItem(RequestBody):
    """The result of a tool call."""

    type: Literal["function_call_output", "custom_tool_call_output"]
    call_id: Id
    output: Content


class ActionOutputItem(RequestBody):
    """The result of an action."""

    type: Literal["local_shell_call_output", "shell_call_output", "apply_patch_call_output"]
    call_id: Id | None = None
    id: str | None = None
    """The call's id, if there is no `call_id`."""
    output: Any = None


class ReasoningText(RequestBody):
    """A part of a model's reasoning."""

    type: str
    text: str


class ReasoningItem(RequestBody):
    """A model's reasoning before the items that follow."""

    type: Literal["reasoning"]
    summary: list[ReasoningText] | None = None
    content: list[ReasoningText] | None = None
    encrypted_content: str | None = None
    """The reasoning in a form that only this server can read."""

    def text(self) -> str:
        """The whole reasoning: the content, or else the summary."""
        return "\n".join(part.text for part in self.content or self.summary or ())


class ItemReference(RequestBody):
    """A reference to an item of an earlier response by its id; its `type` may be left out."""

    type: Literal["item_reference"] | None = None
    id: Id


class OtherItem(RequestBody):
    """Any other item that clients send back from other servers, such as a web search; it is ignored."""

    type: str


_REFERENCE = frozenset({"type", "id"})
_KINDS = {
    "message": "message",
    "function_call": "call",
    "custom_tool_call": "custom call",
    "function_call_output": "output",
    "custom_tool_call_output": "output",
    "reasoning": "reasoning",
    "item_reference": "reference",
    **dict.fromkeys(("local_shell_call", "shell_call", "apply_patch_call"), "action"),
    **dict.fromkeys(("local_shell_call_output", "shell_call_output", "apply_patch_call_output"), "action output"),
}


def _kind(item: Any) -> str:
    kind = item.get("type") if isinstance(item, Mapping) else getattr(item, "type", None)
    if isinstance(item, ItemReference) or (isinstance(item, Mapping) and kind is None and not item.keys() - _REFERENCE):
        return "reference"
    return "message" if kind is None else _KINDS.get(str(kind), "other")


AnyItem = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[CallItem, Tag("call")]
    | Annotated[CustomCallItem, Tag("custom call")]
    | Annotated[CallOutputItem, Tag("output")]
    | Annotated[ReasoningItem, Tag("reasoning")]
    | Annotated[ActionItem, Tag("action")]
    | Annotated[ActionOutputItem, Tag("action output")]
    | Annotated[ItemReference, Tag("reference")]
    | Annotated[OtherItem, Tag("other")],
    Discriminator(_kind),
]
