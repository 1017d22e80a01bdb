"""Our own `/api/health`, a liveness probe and with `?ready` a readiness probe, and `/metrics`."""

from __future__ import annotations

import time

from sanic import Blueprint, Request
from sanic.response import HTTPResponse, json, raw

from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.runtime.server.application import application_of
from mlxbuild.runtime.server.observability.metrics import CONTENT_TYPE, Metrics
from mlxbuild.runtime.server.responses.native_format import NATIVE_FORMAT
from mlxbuild.runtime.server.routing.api import Api, declare
from mlxbuild.runtime.server.routing.operation import JSON, TEXT, Operation, Reply, fields

_begun = time.monotonic()


async def _health(request: Request) -> HTTPResponse:
    if "ready" not in request.args and not request.query_string.startswith("ready"):
        return json({"status": "ok", "uptime_seconds": round(time.monotonic() - _begun, 1)})
    reason = _not_ready(request)
    told = {"status": "ready"} if reason is None else {"status": "not ready", "reason": reason}
    return json(told, status=200 if reason is None else 503)


def _not_ready(request: Request) -> str | None:
    """The reason why requests would fail now; None if the server is ready."""
    if request.app.ctx.is_stopping:
        return "the server is being stopped"
    if missing := request.app.ctx.preloading:
        return f"{', '.join(sorted(missing))} is being loaded"
    store = application_of(request).store
    try:
        if store.tags.items():
            store.require_blobs()
    except MlxbuildError as error:
        return error.message
    return None


async def _metrics(request: Request) -> HTTPResponse:
    metrics: Metrics = request.app.ctx.metrics
    return raw(metrics.page(), content_type=CONTENT_TYPE)


def _routes() -> Blueprint:
    blueprint = Blueprint("operations")
    declare(blueprint, "GET HEAD", "/api/health", _health)
    declare(blueprint, "GET HEAD", "/metrics", _metrics)
    return blueprint


_STATUS = Reply({JSON: fields("status")})
_OPERATIONS = (
    Operation(
        "GET",
        "/api/health",
        "Check that the server is alive, or with `?ready` that it accepts requests",
        {
            200: _STATUS,
            503: _STATUS,
        },
    ),
    Operation("GET", "/metrics", "Get the metrics for Prometheus", {200: Reply({TEXT: {"type": "string"}})}),
)

API = Api(("/api/health", "/metrics"), NATIVE_FORMAT, _routes, "Operations", _OPERATIONS)
