"""What a stopping server does with requests: new work is refused, and probes are still answered."""

from __future__ import annotations

from typing import Any

from sanic import Request

from mlxbuild.runtime.residency.errors import ServerStopping


class NewWork:
    """The check of requests to a server that may be stopping."""

    def __init__(self, answered: frozenset[str]) -> None:
        """`answered` are the paths of probes and metrics, which are answered to the end."""
        self._answered = answered

    async def check(self, request: Request) -> None:
        """Request middleware: while the server is stopping, refuse what is new.

        Raises:
            ServerStopping: the server is stopping, and the request asks for something else than a probe does.
        """
        if not request.app.ctx.is_stopping:
            request.ctx.is_taken = True  # Sanic runs middleware again for the error if the request is interrupted
        elif request.path not in self._answered and not getattr(request.ctx, "is_taken", False):
            raise ServerStopping(
                "the server is being stopped, and takes no more requests",
                hint="try again when it has restarted",
            )


def is_stopping(request: Request) -> bool:
    """Whether a request was cancelled because the server is stopping, not because its client disconnected."""
    app: Any = request.app
    return bool(getattr(app.ctx, "is_stopping", False)) and not request.conn_info.lost  # type: ignore[union-attr]
