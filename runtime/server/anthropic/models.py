"""The list of models in Anthropic's format; the routes are shared with OpenAI's API and are defined there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from mlxbuild.runtime.server.bodies.request_body import RequestBody
from mlxbuild.runtime.server.bodies.validation import checked
from mlxbuild.runtime.server.failures import InvalidRequest
from mlxbuild.runtime.server.models.catalogue import ListedModel

VERSION_HEADER = "anthropic-version"
"""The header that all of Anthropic's clients send, and no others."""


class ModelsPage(RequestBody):
    """The query of a page: the models after one, before one, or the first ones."""

    after_id: str | None = None
    before_id: str | None = None
    limit: Annotated[int, Field(strict=False, ge=1, le=1000)] = 20

    @field_validator("before_id")
    @classmethod
    def _is_alone(cls, before_id: str | None, info: ValidationInfo) -> str | None:
        if before_id is not None and info.data.get("after_id") is not None:
            raise ValueError("cannot be given with `after_id`")
        return before_id


def models_reply(
    listed: Sequence[tuple[str, ListedModel]], longest: int | None, query: dict[str, Any]
) -> dict[str, Any]:
    """One page of the list; `longest` is the server's limit on the context. `has_more` is about the paging direction.

    Raises:
        InvalidRequest: the query is invalid or names an unknown model.
    """
    page = checked(ModelsPage, query)
    names = [name for name, _ in listed]
    if page.before_id is None:
        begin = 0 if page.after_id is None else _place(names, page.after_id, "after_id") + 1
        end = begin + page.limit
        has_more = end < len(names)
    else:
        end = _place(names, page.before_id, "before_id")
        begin = max(0, end - page.limit)
        has_more = begin > 0
    data = [model_reply(name, described, longest) for name, described in listed[begin:end]]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"data": data, "has_more": has_more, **ends}


def _place(names: Sequence[str], name: str, where: str) -> int:
    if name not in names:
        raise InvalidRequest(f"`{where}`: there is no model `{name}`", where=where, hint="begin again without it")
    return names.index(name)


def model_reply(name: str, described: ListedModel, longest: int | None) -> dict[str, Any]:
    """One model in Anthropic's format."""
    created = described.modified.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    told = {"type": "model", "id": name, "display_name": name, "created_at": created}
    return told | {"max_input_tokens": described.context_for_requests(longest)}
