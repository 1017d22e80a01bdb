"""The routes `GET /v1/models` and `GET /v1/models/{model}` for Anthropic's clients; OpenAI's API has the same paths."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC
from typing import Annotated, Any
from urllib.parse import unquote

from pydantic import Field, ValidationInfo, field_validator
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError
from sanic import Request
from sanic.response import HTTPResponse, json

from mlxbuild.runtime.server.application import application_of
from mlxbuild.runtime.server.failures import InvalidRequest
from mlxbuild.runtime.server.models.catalogue import ListedModel, Listing, describe, list_models
from mlxbuild.runtime.server.models.names import find_model
from mlxbuild.runtime.server.routing.query import Query


class ModelsQuery(Query):
    """The query of a page: the models after one, before one, or the first ones."""

    after_id: str | SkipJsonSchema[None] = None
    """The name of the model after which the page begins."""
    before_id: str | SkipJsonSchema[None] = None
    """The name of the model before which the page ends; not together with `after_id`."""
    limit: Annotated[int, Field(ge=1, le=1000)] = 20
    """The maximum number of models."""

    @field_validator("before_id")
    @classmethod
    def _is_alone(cls, before_id: str | None, info: ValidationInfo) -> str | None:
        if before_id is not None and info.data.get("after_id") is not None:
            raise PydanticCustomError("refused", "cannot be given with `after_id`")
        return before_id


async def models(request: Request, query: ModelsQuery) -> HTTPResponse:
    """List a page of the models, the newest first."""
    application = application_of(request)
    listed = await asyncio.to_thread(list_models, application.store)
    return json(_page(listed, application.settings.context_length, query))


async def model(request: Request, model: str) -> HTTPResponse:
    """Show one model, by any name that requests accept; it may contain slashes."""
    application = application_of(request)
    store, name = application.store, unquote(model)
    _, digest = find_model(store, name)
    described = await asyncio.to_thread(describe, store, digest)
    return json(_model(name, described, application.settings.context_length))


def _page(listed: Sequence[Listing], longest: int | None, query: ModelsQuery) -> dict[str, Any]:
    """One page of the list; `longest` is the server's limit on the context. `has_more` is about the paging direction.

    Raises:
        InvalidRequest: the query names an unknown model.
    """
    names = [row.name for row in listed]
    if query.before_id is None:
        begin = 0 if query.after_id is None else _place(names, query.after_id, "after_id") + 1
        end = begin + query.limit
        has_more = end < len(names)
    else:
        end = _place(names, query.before_id, "before_id")
        begin = max(0, end - query.limit)
        has_more = begin > 0
    data = [_model(row.name, row.model, longest) for row in listed[begin:end]]
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {"first_id": None, "last_id": None}
    return {"data": data, "has_more": has_more, **ends}


def _place(names: Sequence[str], name: str, where: str) -> int:
    if name not in names:
        raise InvalidRequest(f"`{where}`: there is no model `{name}`", where=where, hint="start again without it")
    return names.index(name)


def _model(name: str, described: ListedModel, longest: int | None) -> dict[str, Any]:
    """One model in Anthropic's format."""
    created = described.modified.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    told = {"type": "model", "id": name, "display_name": name, "created_at": created}
    return told | {"max_input_tokens": described.context_for_requests(longest)}
