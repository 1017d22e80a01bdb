"""What a server says that is being stopped: no more work is taken, and probes are told how it is to the end."""

from __future__ import annotations

from sanic import Request

from mlxbuild.runtime.residency.errors import ServerStopping

_TOLD_TO_THE_END = frozenset({"/", "/api/health", "/metrics"})


async def refuse_new_work(request: Request) -> None:
    """Request middleware: once the server is being stopped, only what tells of it is answered.

    Raises:
        ServerStopping: that is so, and the request asks for something else.
    """
    if not request.app.ctx.is_stopping:
        request.ctx.is_taken = True  # asked again when it is cut off: Sanic has middleware look at errors, too
    elif request.path not in _TOLD_TO_THE_END and not getattr(request.ctx, "is_taken", False):
        raise ServerStopping(
            "the server is being stopped, and takes no more requests", hint="ask again when it has been started anew"
        )
