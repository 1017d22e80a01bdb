"""Runs the process of a server: its log, signal handlers, open files, first models, and shutdown."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Iterable
from typing import Any

from sanic import Sanic

from mlxbuild import gc_tuning
from mlxbuild.configuration.resolve import Configuration
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.core.home import Home
from mlxbuild.runtime.residency.residency import Residency
from mlxbuild.runtime.server.app import create_app
from mlxbuild.runtime.server.connections.descriptors import raise_descriptor_limit
from mlxbuild.runtime.server.logger import log
from mlxbuild.runtime.server.models.names import find_model
from mlxbuild.runtime.server.observability.logs import FILE_NAME, log_to
from mlxbuild.runtime.server.serving import serve
from mlxbuild.serving.assembly import assemble

ENDING_SECONDS = 10.0
"""The time after the grace period for streams to finish, and for transfers, builds and worker processes to end."""


async def run(home: Home, configuration: Configuration, listening: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT; a second signal, or the end of the grace period, ends the process at once."""
    form = configuration.form
    destination = home.logs / FILE_NAME if form.log == "file" else None
    log_to(destination, level=form.log_level, file_bytes=form.log_bytes, files=form.log_files)
    raise_descriptor_limit()
    application = assemble(home, configuration.server_settings(), configuration.limits(), configuration.drafts())
    app = create_app(application)
    log.info(
        "serving", address=listening.getsockname()[0], port=listening.getsockname()[1], version=application.version
    )
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, _end, stop, number, form.grace_seconds + ENDING_SECONDS)
    gc_tuning.look_as_usual()
    preloading = asyncio.create_task(_preload(app, form.preload, form.pin))
    try:
        await serve(app, listening, stop, grace_seconds=form.grace_seconds)
    finally:
        preloading.cancel()
        await asyncio.gather(preloading, return_exceptions=True)
        await application.residency.close()
        log.info("stopped")


def _end(stop: asyncio.Event, number: signal.Signals, seconds: float) -> None:
    if stop.is_set():
        os._exit(128 + number)
    stop.set()
    last = threading.Timer(seconds, _leave, (number, seconds))
    last.daemon = True
    last.start()


def _leave(number: signal.Signals, seconds: float) -> None:
    """Exit the process despite threads, which cannot be ended otherwise. Worker processes notice and end."""
    log.error("left", reason=f"not everything ended within {seconds:g} seconds")
    os._exit(128 + number)


async def _preload(app: Sanic[Any, Any], names: Iterable[str], pinned: Iterable[str]) -> None:
    """Load the models of the settings; a failure is logged, and the load is retried on the first request."""
    app.ctx.first_models = (*names, *pinned)
    app.ctx.preloading.update(app.ctx.first_models)
    residency: Residency = app.ctx.application.residency
    for name in app.ctx.first_models:
        try:
            reference, _ = find_model(app.ctx.application.store, name)
            if name in pinned:
                await residency.pin(str(reference))
            else:
                async with residency.lease(str(reference)):
                    pass
        except MlxbuildError as error:
            log.error("not-preloaded", model=name, code=error.code, reason=error.message)
        finally:
            app.ctx.preloading.discard(name)
