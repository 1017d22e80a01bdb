"""The route `GET /metrics`; what it tells is collected in `observability.metrics`."""

from __future__ import annotations

from sanic import Request
from sanic.response import HTTPResponse, raw

from mlxbuild.runtime.server.observability.metrics import CONTENT_TYPE, Metrics


async def metrics(request: Request) -> HTTPResponse:
    """Show the metrics in Prometheus's format."""
    collected: Metrics = request.app.ctx.metrics
    return raw(collected.page(), content_type=CONTENT_TYPE)
