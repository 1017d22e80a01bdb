"""Observes every request from its head to its last byte, and notifies the metrics and the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog
from sanic import Request
from sanic.server.protocols.http_protocol import HttpProtocol

from mlxbuild.runtime.server.failures import CLIENT_GONE
from mlxbuild.runtime.server.request_id import request_id


@dataclass(frozen=True, slots=True)
class RequestOutcome:
    """The outcome of one request."""

    request_id: str
    method: str
    route: str
    """The path of the declared route, or `-` if there is none."""
    path: str
    status: int
    error: str | None
    """The code of the error, even of one in the middle of a stream."""
    seconds: float
    client: str
    """The client's address."""
    caller: str | None
    """The name of the client's API key."""
    model: str | None
    """The name of the requested model in the store."""


Observer = Callable[[RequestOutcome], None]


def begun_at(request: Request) -> float:
    """When the head of a request had come, as `time.perf_counter()` told it."""
    begun: float = request.ctx.begun
    return begun


class ObservedProtocol(HttpProtocol):
    """Sanic's protocol, which notifies the application's `observers` when a request has ended."""

    __slots__ = ()

    def _setup(self) -> None:
        super()._setup()  # type: ignore[no-untyped-call]
        self.request_handler = self._handle

    async def _handle(self, request: Request) -> None:
        request.ctx.begun = begun = time.perf_counter()
        structlog.contextvars.bind_contextvars(request_id=request_id(request))  # for all that is logged meanwhile
        running: set[asyncio.Task[Any]] = self.app.ctx.running
        task = asyncio.current_task()
        if task is not None and not self.app.ctx.is_stopping:  # later requests are refused, and not waited for
            running.add(task)
        is_gone = False
        try:
            await self.app.handle_request(request)
        except asyncio.CancelledError:
            is_gone = True
            raise
        finally:
            if task is not None:
                running.discard(task)
            self.tell(request, time.perf_counter() - begun, is_gone=is_gone)

    def tell(self, request: Request, seconds: float, *, is_gone: bool) -> None:
        response = request.stream.response if request.stream is not None else None
        failure = getattr(request.ctx, "failure", None)
        is_gone = is_gone or request.conn_info is None or request.conn_info.lost
        observed = RequestOutcome(
            request_id=request_id(request),
            method=request.method,
            route="-" if request.route is None else f"/{request.route.path}",
            path=request.path,
            status=CLIENT_GONE if is_gone or response is None else response.status,
            error=None if failure is None else failure.code,
            seconds=seconds,
            client=request.ip or "",
            caller=getattr(request.ctx, "caller", None),
            model=getattr(request.ctx, "model", None),
        )
        for observer in self.app.ctx.observers:
            observer(observed)
