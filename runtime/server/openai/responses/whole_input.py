"""Completes the input of a response: adds earlier items, resolves references, and decrypts reasoning."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from mlxbuild.runtime.server.failures import InvalidRequest
from mlxbuild.runtime.server.inference.ids import new_id
from mlxbuild.runtime.server.openai.responses.body import ResponseBody
from mlxbuild.runtime.server.openai.responses.failures import unknown_item
from mlxbuild.runtime.server.openai.responses.items import AnyItem, ItemReference, ReasoningItem, ReasoningText
from mlxbuild.runtime.server.openai.responses.stored_responses import Item, StoredResponses

_ITEM: TypeAdapter[AnyItem] = TypeAdapter(AnyItem)
_PREFIXES = {"message": "msg_", "reasoning": "rs_", "function_call": "fc_", "custom_tool_call": "ctc_"}


@dataclass(frozen=True, slots=True)
class WholeInput:
    """The complete input: the items of earlier responses, and the request's own."""

    before: Sequence[AnyItem]
    own: Sequence[AnyItem]
    written: Sequence[Item]
    """The request's own items as JSON, in the form in which they are stored: with references resolved, and with ids."""


def whole_input(
    body: ResponseBody,
    given: str | Sequence[Item],
    stored: StoredResponses,
    owner: str,
    opened: Callable[[str], str | None],
) -> WholeInput:
    """Complete the input of a request; `given` is the body's input as JSON.

    Raises:
        UnknownPreviousResponse, UnknownItem: the previous response or a referenced item is not stored.
    """
    previous = body.previous_response_id
    before = [] if previous is None else stored.conversation(owner, previous)
    if isinstance(given, str):
        given = [{"type": "message", "role": "user", "content": given}]
    own: list[AnyItem] = []
    written: list[Item] = []
    taken = {item["id"] for item in before}
    for number, raw in enumerate(given):
        if not isinstance(raw.get("id"), str | None):
            raise InvalidRequest(f"`input[{number}].id` must be a text", where=f"input[{number}].id")
        item = body.input[number] if not isinstance(body.input, str) else _ITEM.validate_python(raw)
        if isinstance(item, ItemReference):
            found = stored.item(owner, item.id)
            if found is None:
                raise unknown_item(item.id, f"input[{number}]")
            raw, item = found, _ITEM.validate_python(found)
        own.append(_with_thought(item, opened))
        written.append(_written(raw, taken))
        taken.add(written[-1]["id"])
    return WholeInput([_with_thought(_ITEM.validate_python(item), opened) for item in before], own, written)


def _with_thought(item: AnyItem, opened: Callable[[str], str | None]) -> AnyItem:
    if not isinstance(item, ReasoningItem) or item.content or not item.encrypted_content:
        return item
    thought = opened(item.encrypted_content)
    if thought is None:
        return item
    return item.model_copy(update={"content": [ReasoningText(type="reasoning_text", text=thought)]})


def _written(item: Item, taken: Container[str]) -> Item:
    """The item in the form in which it is stored, with a unique id, as pages of items are addressed by id."""
    kind = "message" if (given := item.get("type")) is None else given
    item_id = item.get("id")
    if item_id in taken:
        item_id = None
    told: dict[str, Any] = {**item, "id": item_id or new_id(_PREFIXES.get(kind, "item_")), "type": kind}
    if kind == "message" and isinstance(item["content"], str):
        text_kind = "output_text" if item["role"] == "assistant" else "input_text"
        told["content"] = [{"type": text_kind, "text": item["content"]}]
    return told
