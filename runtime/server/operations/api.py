"""The routes for those who operate the server, and the one that describes all routes."""

from __future__ import annotations

from mlxbuild.runtime.server.operations.health import health
from mlxbuild.runtime.server.operations.metrics import metrics
from mlxbuild.runtime.server.operations.openapi import openapi
from mlxbuild.runtime.server.responses.native_format import NATIVE_FORMAT
from mlxbuild.runtime.server.responses.schemas import fields
from mlxbuild.runtime.server.routing.api import Api
from mlxbuild.runtime.server.routing.reply import JSON, TEXT, Reply, success
from mlxbuild.runtime.server.routing.route import Route

_STATUS = Reply({JSON: fields("status")})
_HEALTH = Route(
    "GET",
    "/api/health",
    health,
    "Check that the server is alive, or with `?ready` that it accepts requests",
    {200: _STATUS, 503: _STATUS},
    needs_key=False,
    answers_while_stopping=True,
)
_METRICS = Route(
    "GET",
    "/metrics",
    metrics,
    "Get the metrics for Prometheus",
    success((TEXT, {"type": "string"})),
    answers_while_stopping=True,
)
_OPENAPI = Route(
    "GET",
    "/openapi.json",
    openapi,
    "Show the OpenAPI document of all routes",
    success((JSON, fields("openapi", "info", "paths", "components"))),
)

OPERATIONS = Api("Operations", ("/api/health", "/metrics"), NATIVE_FORMAT, (_HEALTH, _METRICS))
OPENAPI = Api("OpenAPI", ("/openapi.json",), NATIVE_FORMAT, (_OPENAPI,))
