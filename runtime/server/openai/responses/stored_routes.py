"""The routes below `/v1/responses/{id}`, which show and delete stored responses."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.json_schema import SkipJsonSchema
from sanic import Request
from sanic.response import HTTPResponse, json

from mlxbuild.runtime.server.failures import InvalidRequest, NotSupported
from mlxbuild.runtime.server.openai.responses.keeping import owner_of, stored_responses
from mlxbuild.runtime.server.routing.query import Query


class ResponseQuery(Query):
    """The query of a stored response."""

    stream: bool = False
    """Must be false: a response that has ended is not streamed again."""


class ItemsQuery(Query):
    """The query of a page of items."""

    after: str | SkipJsonSchema[None] = None
    """The id of the item after which the page begins."""
    limit: Annotated[int, Field(ge=1, le=100)] = 20
    """The maximum number of items."""
    order: Literal["asc", "desc"] = "desc"
    """The order of the items: the first or the last one first."""


async def stored_response(request: Request, response_id: str, query: ResponseQuery) -> HTTPResponse:
    """Show a stored response."""
    if query.stream:
        raise NotSupported("a response that has ended is not streamed again", where="stream")
    return json(stored_responses(request).response(owner_of(request), response_id))


async def forget_response(request: Request, response_id: str) -> HTTPResponse:
    """Delete a stored response."""
    stored_responses(request).forget(owner_of(request), response_id)
    return json({"id": response_id, "object": "response", "deleted": True})


async def input_items(request: Request, response_id: str, query: ItemsQuery) -> HTTPResponse:
    """List the input items of a response, by default the last first."""
    items = stored_responses(request).input_items(owner_of(request), response_id)
    if query.order == "desc":
        items.reverse()
    if query.after is not None:
        ids = [item["id"] for item in items]
        if query.after not in ids:
            raise InvalidRequest(f"the response has no item `{query.after}`", where="after")
        items = items[ids.index(query.after) + 1 :]
    told = items[: query.limit]
    ends = {"first_id": told[0]["id"], "last_id": told[-1]["id"]} if told else {"first_id": None, "last_id": None}
    return json({"object": "list", "data": told, **ends, "has_more": len(items) > len(told)})
