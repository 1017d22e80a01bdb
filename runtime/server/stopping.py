"""Refuses new work while the server is stopping; probes are still answered."""

from __future__ import annotations

from sanic import Request

from mlxbuild.runtime.residency.errors import ServerStopping

_TOLD_TO_THE_END = frozenset({"/", "/api/health", "/metrics"})


async def refuse_new_work(request: Request) -> None:
    """Request middleware: while the server is stopping, only probes and metrics are answered.

    Raises:
        ServerStopping: the server is stopping, and the request asks for something else.
    """
    if not request.app.ctx.is_stopping:
        request.ctx.is_taken = True  # Sanic runs middleware again for the error if the request is interrupted
    elif request.path not in _TOLD_TO_THE_END and not getattr(request.ctx, "is_taken", False):
        raise ServerStopping(
            "the server is being stopped, and takes no more requests", hint="ask again when it has been started anew"
        )
