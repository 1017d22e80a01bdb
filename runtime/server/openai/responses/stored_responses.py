"""Stores responses in memory for a while, each readable by its owner only; the routes are in `stored_routes`."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlxbuild.runtime.server.openai.responses.failures import (
    UnknownResponse,
    unknown_previous_response,
    unknown_response,
)
from mlxbuild.runtime.server.responses.encoding import as_json

Item = dict[str, Any]


@dataclass(slots=True)
class _Kept:
    owner: str
    previous_id: str | None
    response: bytes
    items: bytes
    item_ids: frozenset[str]
    """The ids of the items in input and output."""
    used_seconds: float

    @property
    def size_bytes(self) -> int:
        return len(self.response) + len(self.items)


class StoredResponses:
    """Responses with their input items, by owner; the least recently used are evicted first."""

    def __init__(
        self, *, most: int, most_bytes: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`most` and `most_bytes` of JSON bound all responses; each expires `seconds` after its last use."""
        self._most, self._most_bytes, self._seconds, self._clock = most, most_bytes, seconds, clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._size_bytes = 0

    @property
    def keeps(self) -> bool:
        """Whether any responses are stored."""
        return self._most > 0 and self._most_bytes > 0

    def keep(self, owner: str, response: Mapping[str, Any], items: Sequence[Item]) -> bool:
        """Store a completed response with its own input items, which all have ids; returns whether it fits."""
        kept = _Kept(
            owner,
            response["previous_response_id"],
            as_json(response),
            json.dumps(items).encode(),
            frozenset(item["id"] for item in (*items, *response["output"])),
            self._clock(),
        )
        if not self.keeps or kept.size_bytes > self._most_bytes:
            return False
        self._kept[response["id"]] = kept
        self._size_bytes += kept.size_bytes
        self._shrink()
        return True

    def response(self, owner: str, response_id: str) -> dict[str, Any]:
        """Return a stored response.

        Raises:
            UnknownResponse: the response is not stored.
        """
        response: dict[str, Any] = json.loads(self._found(owner, response_id).response)
        return response

    def forget(self, owner: str, response_id: str) -> None:
        """Delete a response.

        Raises:
            UnknownResponse: the response is not stored.
        """
        self._found(owner, response_id)
        self._drop(response_id)

    def input_items(self, owner: str, response_id: str) -> list[Item]:
        """The input of a response: its own items, after those of earlier responses as far as they are stored.

        Raises:
            UnknownResponse: the response is not stored.
        """
        kept = self._found(owner, response_id)
        before, _ = self._chain(owner, kept.previous_id)
        return [*_items(before), *json.loads(kept.items)]

    def conversation(self, owner: str, response_id: str) -> list[Item]:
        """All items of a conversation, up to and including a response.

        Raises:
            UnknownPreviousResponse: the response, or an earlier one, is not stored.
        """
        chain, missing = self._chain(owner, response_id)
        if missing is not None:
            raise unknown_previous_response(response_id, missing)
        return _items(chain)

    def item(self, owner: str, item_id: str) -> Item | None:
        """An item of any stored response; None if there is none with this id."""
        for response_id, kept in reversed(self._kept.items()):
            if kept.owner == owner and item_id in kept.item_ids:
                kept = self._found(owner, response_id)
                items: list[Item] = json.loads(kept.items) + json.loads(kept.response)["output"]
                return next(item for item in items if item["id"] == item_id)
        return None

    def _chain(self, owner: str, last_id: str | None) -> tuple[list[_Kept], str | None]:
        """A response and those before it, the first one first, and the id of the missing one before them, if any."""
        chain: list[_Kept] = []
        asked = last_id
        while asked is not None:
            try:
                chain.append(self._found(owner, asked))
            except UnknownResponse:
                break
            asked = chain[-1].previous_id
        return chain[::-1], asked

    def _found(self, owner: str, response_id: str) -> _Kept:
        self._shrink()
        kept = self._kept.get(response_id)
        if kept is None or kept.owner != owner:
            raise unknown_response(response_id)
        kept.used_seconds = self._clock()
        self._kept.move_to_end(response_id)
        return kept

    def _shrink(self) -> None:
        oldest = self._clock() - self._seconds
        while self._kept:
            response_id, first = next(iter(self._kept.items()))
            is_within = len(self._kept) <= self._most and self._size_bytes <= self._most_bytes
            if is_within and first.used_seconds >= oldest:
                return
            self._drop(response_id)

    def _drop(self, response_id: str) -> None:
        self._size_bytes -= self._kept.pop(response_id).size_bytes


def _items(chain: Sequence[_Kept]) -> list[Item]:
    items: list[Item] = []
    for kept in chain:
        items += json.loads(kept.items) + json.loads(kept.response)["output"]
    return items
