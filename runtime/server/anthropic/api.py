"""Anthropic's API as a whole: its routes and its wire format."""

from __future__ import annotations

from sanic import Blueprint, Request
from sanic.response import BaseHTTPResponse

from mlxbuild.runtime.server.anthropic.models import VERSION_HEADER
from mlxbuild.runtime.server.anthropic.operations import OPERATIONS
from mlxbuild.runtime.server.anthropic.routes import count_tokens, messages
from mlxbuild.runtime.server.anthropic.wire_format import MANNERS
from mlxbuild.runtime.server.api import Api, declare
from mlxbuild.runtime.server.observability.observation import request_id


async def _write_id(request: Request, response: BaseHTTPResponse) -> None:
    """Set the header by Anthropic's name, besides the one that all responses have."""
    response.headers["request-id"] = request_id(request)


def _routes() -> Blueprint:
    blueprint = Blueprint("anthropic")
    blueprint.on_response(_write_id)  # type: ignore[no-untyped-call]
    declare(blueprint, "POST", "/v1/messages", messages)
    declare(blueprint, "POST", "/v1/messages/count_tokens", count_tokens)
    return blueprint


API = Api(
    ("/v1/messages",),
    MANNERS,
    _routes,
    "Anthropic",
    OPERATIONS,
    client_header=VERSION_HEADER,
    shared_prefix="/v1",
)
