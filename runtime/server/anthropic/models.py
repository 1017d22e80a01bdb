"""Which models there are, as Anthropic's clients are told. The routes are shared with OpenAI's API, and lie there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Any

from mlxbuild.runtime.server.catalogue import ListedModel

VERSION_HEADER = "anthropic-version"
"""What all of Anthropic's clients send, and no others."""


def models_reply(listed: Sequence[tuple[str, ListedModel]], longest: int | None) -> dict[str, Any]:
    """All of them on one page; `longest` is the server's own bound of contexts."""
    data = [model_reply(name, described, longest) for name, described in listed]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"data": data, "has_more": False, **ends}


def model_reply(name: str, described: ListedModel, longest: int | None) -> dict[str, Any]:
    """One of them."""
    created = described.modified.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    told = {"type": "model", "id": name, "display_name": name, "created_at": created}
    return told | {"max_input_tokens": described.context_for_requests(longest)}
