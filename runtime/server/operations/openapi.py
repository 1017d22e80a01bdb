"""The route `GET /openapi.json`."""

from __future__ import annotations

from collections.abc import Sequence

from sanic import Blueprint, Request
from sanic.response import HTTPResponse, raw

from mlxbuild.runtime.server.application import Application, application_of
from mlxbuild.runtime.server.responses.encoding import as_json
from mlxbuild.runtime.server.responses.native_format import NATIVE_FORMAT
from mlxbuild.runtime.server.routing.api import Api, declare
from mlxbuild.runtime.server.routing.document import document
from mlxbuild.runtime.server.routing.operation import JSON, Operation, Reply, fields

_DOCUMENT = Reply({JSON: fields("openapi", "info", "paths", "components")})
OPERATIONS = (Operation("GET", "/openapi.json", "Show the OpenAPI document of all routes", {200: _DOCUMENT}),)


async def _document(request: Request) -> HTTPResponse:
    server = request.app.ctx
    if server.openapi is None:  # cached, as building it takes long and it never changes
        server.openapi = _put_together(server.apis, application_of(request))
    return raw(server.openapi, content_type=JSON)


def _put_together(apis: Sequence[Api], application: Application) -> bytes:
    operations = {api.name: api.operations for api in apis if api.operations}
    asks_for_key = application.settings.asks_for_key
    return as_json(document(operations, version=application.version, asks_for_key=asks_for_key))


def _routes() -> Blueprint:
    blueprint = Blueprint("openapi")
    declare(blueprint, "GET HEAD", "/openapi.json", _document)
    return blueprint


API = Api(("/openapi.json",), NATIVE_FORMAT, _routes, "OpenAPI", OPERATIONS)
