"""Anthropic's API as a whole: its routes and its wire format."""

from __future__ import annotations

from sanic import Blueprint, Request
from sanic.response import BaseHTTPResponse

from mlxbuild.runtime.server.anthropic.models import VERSION_HEADER
from mlxbuild.runtime.server.anthropic.operations import OPERATIONS
from mlxbuild.runtime.server.anthropic.routes import count_tokens, messages
from mlxbuild.runtime.server.anthropic.wire_format import WIRE_FORMAT
from mlxbuild.runtime.server.request_id import request_id
from mlxbuild.runtime.server.routing.api import Api, declare


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
    WIRE_FORMAT,
    _routes,
    "Anthropic",
    OPERATIONS,
    client_header=VERSION_HEADER,
    shared_prefix="/v1",
)
