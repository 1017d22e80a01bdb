"""The routes below `/v1/responses/{id}`, which show and delete stored responses."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from sanic import Request
from sanic.response import HTTPResponse, json

from mlxbuild.runtime.server.bodies.request_body import RequestBody
from mlxbuild.runtime.server.bodies.validation import checked
from mlxbuild.runtime.server.failures import InvalidRequest, NotSupported
from mlxbuild.runtime.server.openai.responses.keeping import owner_of, stored_responses


class _Page(RequestBody):
    """The query of a page of items."""

    after: str | None = None
    limit: Annotated[int, Field(strict=False, ge=1, le=100)] = 20
    order: Literal["asc", "desc"] = "desc"


async def stored_response(request: Request, response_id: str) -> HTTPResponse:
    """Show a stored response."""
    if request.args.get("stream") == "true":
        raise NotSupported("a response that has ended is not streamed again", where="stream")
    return json(stored_responses(request).response(owner_of(request), response_id))


async def forget_response(request: Request, response_id: str) -> HTTPResponse:
    """Delete a stored response."""
    stored_responses(request).forget(owner_of(request), response_id)
    return json({"id": response_id, "object": "response", "deleted": True})


async def input_items(request: Request, response_id: str) -> HTTPResponse:
    """List the input items of a response, by default the last first."""
    page = checked(_Page, {name: request.args.get(name) for name in request.args})
    items = stored_responses(request).input_items(owner_of(request), response_id)
    if page.order == "desc":
        items.reverse()
    if page.after is not None:
        ids = [item["id"] for item in items]
        if page.after not in ids:
            raise InvalidRequest(f"the response has no item `{page.after}`", where="after")
        items = items[ids.index(page.after) + 1 :]
    told = items[: page.limit]
    ends = {"first_id": told[0]["id"], "last_id": told[-1]["id"]} if told else {"first_id": None, "last_id": None}
    return json({"object": "list", "data": told, **ends, "has_more": len(items) > len(told)})
