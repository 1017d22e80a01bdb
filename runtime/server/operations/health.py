"""`/api/health`, a liveness probe and with `?ready` a readiness probe."""

from __future__ import annotations

import time
from typing import ClassVar

from pydantic.json_schema import SkipJsonSchema
from sanic import Request
from sanic.response import HTTPResponse, json

from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.runtime.server.application import application_of
from mlxbuild.runtime.server.models.names import find_model
from mlxbuild.runtime.server.routing.query import Query

_begun = time.monotonic()


class HealthQuery(Query):
    """The query of a probe."""

    flags: ClassVar[frozenset[str]] = frozenset({"ready"})
    ready: str | SkipJsonSchema[None] = None
    """Check that the server accepts requests, whatever the value."""


async def health(request: Request, query: HealthQuery) -> HTTPResponse:
    """Tell that the server is alive, or whether it is ready."""
    if query.ready is None:
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
        for name in request.app.ctx.first_models:
            find_model(store, name)
    except MlxbuildError as error:
        return error.message
    return None
