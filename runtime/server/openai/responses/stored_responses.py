"""The responses that a server keeps for a while, in memory, each for whoever asked for it. Routes: `stored_routes`."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlxbuild.runtime.server.api import as_json
from mlxbuild.runtime.server.openai.responses.failures import (
    UnknownResponse,
    unknown_previous_response,
    unknown_response,
)

Item = dict[str, Any]


@dataclass(slots=True)
class _Kept:
    owner: str
    previous_id: str | None
    response: bytes
    items: bytes
    item_ids: frozenset[str]
    """Of the input and of the output."""
    used_seconds: float

    @property
    def size_bytes(self) -> int:
        return len(self.response) + len(self.items)


class StoredResponses:
    """Responses with their input items. An owner is told of its own only; what was asked for longest ago goes first."""

    def __init__(
        self, *, most: int, most_bytes: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Room for so many, of so many bytes of JSON together, each for so long after it was last asked for."""
        self._most, self._most_bytes, self._seconds, self._clock = most, most_bytes, seconds, clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._size_bytes = 0

    @property
    def keeps(self) -> bool:
        """Whether anything is kept at all."""
        return self._most > 0 and self._most_bytes > 0

    def keep(self, owner: str, response: Mapping[str, Any], items: Sequence[Item]) -> bool:
        """Keep a response that has ended, with its own input items, all of which have ids. Whether there is room."""
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
        """A response as it was told.

        Raises:
            UnknownResponse: it is not kept.
        """
        response: dict[str, Any] = json.loads(self._found(owner, response_id).response)
        return response

    def forget(self, owner: str, response_id: str) -> None:
        """Keep a response no longer.

        Raises:
            UnknownResponse: it is not kept.
        """
        self._found(owner, response_id)
        self._drop(response_id)

    def input_items(self, owner: str, response_id: str) -> list[Item]:
        """All that a response answered: its own input, and what went before it as far back as that is kept.

        Raises:
            UnknownResponse: it is not kept.
        """
        kept = self._found(owner, response_id)
        before, _ = self._chain(owner, kept.previous_id)
        return [*_items(before), *json.loads(kept.items)]

    def conversation(self, owner: str, response_id: str) -> list[Item]:
        """All items up to the end of a response.

        Raises:
            UnknownPreviousResponse: it is not kept, or one that went before is not.
        """
        chain, missing = self._chain(owner, response_id)
        if missing is not None:
            raise unknown_previous_response(response_id, missing)
        return _items(chain)

    def item(self, owner: str, item_id: str) -> Item | None:
        """An item of any response that is kept."""
        for response_id, kept in reversed(self._kept.items()):
            if kept.owner == owner and item_id in kept.item_ids:
                kept = self._found(owner, response_id)
                items: list[Item] = json.loads(kept.items) + json.loads(kept.response)["output"]
                return next(item for item in items if item["id"] == item_id)
        return None

    def _chain(self, owner: str, last_id: str | None) -> tuple[list[_Kept], str | None]:
        """A response and those before it, the first one first; and the id of the one that is missing before them."""
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
