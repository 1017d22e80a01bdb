"""Converts the input items of a response to a conversation for the chat template."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mlxbuild.runtime.protocol.requests import Message
from mlxbuild.runtime.server.failures import InvalidRequest
from mlxbuild.runtime.server.inference.tool_arguments import parsed_arguments
from mlxbuild.runtime.server.openai.parts import text_of
from mlxbuild.runtime.server.openai.responses.callable_tools import INPUT, flat_name
from mlxbuild.runtime.server.openai.responses.items import (
    ActionItem,
    ActionOutputItem,
    AnyItem,
    CallItem,
    CallOutputItem,
    CustomCallItem,
    MessageItem,
    ReasoningItem,
)


def conversation(
    instructions: str | None, items: str | Sequence[AnyItem], before: Sequence[AnyItem] = ()
) -> tuple[Message, ...]:
    """Convert the items to messages, with those `before` the request first.

    Reasoning, text and tool calls of one turn of the assistant become one message. Unknown items are ignored, as
    clients send back whatever they got from another server.

    Raises:
        InvalidRequest: no message is left.
        NotSupported: a part is not text.
    """
    told = _Conversation()
    if instructions:
        told.messages.append({"role": "system", "content": instructions})
    for item in before:
        told.add(item, "previous_response_id")
    if isinstance(items, str):
        return (*told.messages, {"role": "user", "content": items})
    for number, item in enumerate(items):
        told.add(item, f"input[{number}]")
    if not told.messages:
        raise InvalidRequest("there is no message in the input", where="input")
    return tuple(told.messages)


class _Conversation:
    """Collects the messages of a conversation."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self._names: dict[str, str] = {}

    def add(self, item: AnyItem, place: str) -> None:
        """Add the next item; `place` is its field in the request, for errors."""
        match item:
            case MessageItem(role="assistant"):
                turn = self._open_turn(begins=bool(self.messages and self.messages[-1]["content"]))
                turn["content"] += text_of(item.content, f"{place}.content")
            case MessageItem():
                role = "system" if item.role == "developer" else item.role
                self.messages.append({"role": role, "content": text_of(item.content, f"{place}.content")})
            case ReasoningItem():
                if thought := item.text():
                    self._open_turn(begins=True)["reasoning_content"] = thought
            case CallItem():
                arguments = parsed_arguments(item.arguments)
                self._call(item.call_id, flat_name(item.namespace, item.name), arguments)
            case CustomCallItem():
                self._call(item.call_id, flat_name(item.namespace, item.name), {INPUT: item.input})
            case ActionItem():
                self._call(item.call_id or "", item.type.removesuffix("_call"), item.action or item.operation or {})
            case CallOutputItem():
                self._output(item.call_id, text_of(item.output, f"{place}.output"))
            case ActionOutputItem():
                told = item.output if isinstance(item.output, str) else json.dumps(item.output, ensure_ascii=False)
                self._output(item.call_id or item.id or "", told)

    def _call(self, call_id: str, name: str, arguments: Mapping[str, Any] | str) -> None:
        function = {"name": name, "arguments": arguments}
        call = {"id": call_id, "type": "function", "function": function}
        self._open_turn().setdefault("tool_calls", []).append(call)
        self._names[call_id] = name

    def _output(self, call_id: str, text: str) -> None:
        result = {"role": "tool", "tool_call_id": call_id, "content": text}
        self.messages.append(result | ({"name": self._names[call_id]} if call_id in self._names else {}))

    def _open_turn(self, *, begins: bool = False) -> dict[str, Any]:
        """The assistant's message that the current turn adds to; `begins` starts a new one."""
        if begins or not self.messages or self.messages[-1]["role"] != "assistant":
            self.messages.append({"role": "assistant", "content": ""})
        return self.messages[-1]
