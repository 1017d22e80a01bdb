"""The route `GET /openapi.json`."""

from __future__ import annotations

from sanic import Request
from sanic.response import HTTPResponse, raw

from mlxbuild.runtime.server.application import application_of
from mlxbuild.runtime.server.responses.encoding import as_json
from mlxbuild.runtime.server.routing.document import document
from mlxbuild.runtime.server.routing.reply import JSON


async def openapi(request: Request) -> HTTPResponse:
    """Show the OpenAPI document of all routes."""
    server = request.app.ctx
    if server.openapi is None:  # cached, as building it takes long and it never changes
        application = application_of(request)
        asks_for_key = application.settings.asks_for_key
        server.openapi = as_json(document(server.apis, version=application.version, asks_for_key=asks_for_key))
    return raw(server.openapi, content_type=JSON)
