"""Which models there are, as Anthropic's clients are told. The routes are shared with OpenAI's API, and lie there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Any

from runtime.server.catalogue import ListedModel

VERSION_HEADER = "anthropic-version"
"""What all of Anthropic's clients send, and no others."""


def models_reply(listed: Sequence[tuple[str, ListedModel]]) -> dict[str, Any]:
    """All of them on one page."""
    data = [model_reply(name, described) for name, described in listed]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"data": data, "has_more": False, **ends}


def model_reply(name: str, described: ListedModel) -> dict[str, Any]:
    """One of them."""
    created = described.modified.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {"type": "model", "id": name, "display_name": name, "created_at": created}
