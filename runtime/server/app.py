"""Creates the Sanic application of a server: its APIs, middleware, limits and error handling."""

from __future__ import annotations

import asyncio
import itertools
import math
import sys
from collections.abc import Sequence
from typing import Any

from sanic import Request, Sanic
from sanic.exceptions import MethodNotAllowed
from sanic.response import BaseHTTPResponse, HTTPResponse, empty

from mlxbuild.runtime.residency.errors import ModelKeepsDying, ServerStopping
from mlxbuild.runtime.server.anthropic.api import API as ANTHROPIC
from mlxbuild.runtime.server.application import Application
from mlxbuild.runtime.server.connections.descriptors import connections_that_fit
from mlxbuild.runtime.server.connections.limit import ConnectionLimit
from mlxbuild.runtime.server.failures import NOWHERE, failure_of
from mlxbuild.runtime.server.long_task import TaskThreads
from mlxbuild.runtime.server.observability.logs import log_request
from mlxbuild.runtime.server.observability.metrics import Metrics
from mlxbuild.runtime.server.ollama.api import API as NATIVE
from mlxbuild.runtime.server.openai.api import API as OPENAI
from mlxbuild.runtime.server.operations.api import OPENAPI, OPERATIONS
from mlxbuild.runtime.server.request_id import request_id
from mlxbuild.runtime.server.responses.encoding import as_json
from mlxbuild.runtime.server.routing.allowed_methods import allowed_methods
from mlxbuild.runtime.server.routing.api import Api, api_of, open_paths, paths_while_stopping
from mlxbuild.runtime.server.routing.router import add_routes
from mlxbuild.runtime.server.security.access import AccessCheck
from mlxbuild.runtime.server.stopping import NewWork, is_stopping

APIS: tuple[Api, ...] = (NATIVE, OPENAI, ANTHROPIC, OPENAPI, OPERATIONS)
_BUSY = 503
_RETRY_AFTER_SECONDS = 5
_numbers = itertools.count(1)
_FOREVER = 10 * 365 * 24 * 3600
"""Sanic's timeouts in seconds: long prompts take their time, and `connections` bounds how slowly clients may send."""


def create_app(application: Application, apis: Sequence[Api] = APIS) -> Sanic[Any, Any]:
    """Create a server that is ready to listen; it has to run in a single process."""
    app = Sanic(f"mlxbuild-{next(_numbers)}", configure_logging=False)
    app.config.update(
        {
            "RESPONSE_TIMEOUT": _FOREVER,
            "REQUEST_TIMEOUT": _FOREVER,
            "REQUEST_MAX_SIZE": sys.maxsize,
            "ACCESS_LOG": False,
            "MOTD": False,
            "TOUCHUP": False,  # it rewrites Sanic for the whole process, and fails for the second server in one
            "AUTO_EXTEND": False,
        }
    )
    app.ctx.application = application
    app.ctx.apis = apis
    app.ctx.openapi = None
    app.ctx.is_stopping = False
    app.ctx.first_models = ()
    app.ctx.preloading = set()
    app.ctx.running = set()
    app.ctx.lingering = set()
    settings = application.settings
    app.ctx.task_threads = TaskThreads(settings.max_transfers, settings.places)
    most = settings.max_connections
    app.ctx.connections = ConnectionLimit(
        most, settings.max_connections_per_address, settings.places, fitting=connections_that_fit(most)
    )
    app.ctx.metrics = Metrics(application, app.ctx.connections)
    app.ctx.observers = [app.ctx.metrics.observe, log_request]
    access = AccessCheck(application, open_paths(apis))
    app.register_middleware(access.check, "request")
    app.register_middleware(NewWork(paths_while_stopping(apis)).check, "request")
    app.register_middleware(access.tell_browser, "response")
    add_routes(app, apis)

    async def write_id(request: Request, response: BaseHTTPResponse) -> None:
        for header in api_of(apis, request).id_headers:
            response.headers[header] = request_id(request)

    async def explain(request: Request, error: BaseException) -> HTTPResponse:
        if isinstance(error, MethodNotAllowed):
            error = MethodNotAllowed(method=request.method, allowed_methods=allowed_methods(request))
            if request.method == "OPTIONS":
                return empty(204, headers=error.headers)
        if isinstance(error, asyncio.CancelledError) and is_stopping(request):
            error = ServerStopping("the server is being stopped")
        failure = failure_of(error, getattr(request.ctx, "places", NOWHERE))
        request.ctx.failure = failure
        if failure.status == _BUSY:
            request.ctx.retry_after = _retry_seconds(error)
        body = api_of(apis, request).wire_format.error_body(failure, request_id(request))
        return HTTPResponse(as_json(body), failure.status, dict(failure.headers), "application/json; charset=utf-8")

    app.register_middleware(write_id, "response")
    app.error_handler.add(Exception, explain)
    app.error_handler.add(asyncio.CancelledError, explain)
    return app


def _retry_seconds(error: BaseException) -> int:
    """The `Retry-After` of a response with status 503, in seconds."""
    return math.ceil(error.retry_seconds) if isinstance(error, ModelKeepsDying) else _RETRY_AFTER_SECONDS
