"""The process of a server: its signals, its files, its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
from collections.abc import Callable

from runtime.server.app import create_app
from runtime.server.application import Application
from runtime.server.serving import serve


async def run(assemble: Callable[[], Application], listening: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT; a second one ends the process at once."""
    _raise_file_limit()
    application = assemble()
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(130)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    try:
        await serve(create_app(application), listening, stop, grace_seconds=application.settings.grace_seconds)
    finally:
        await application.residency.close()


def _raise_file_limit() -> None:
    """As many connections as the system lets the process have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
