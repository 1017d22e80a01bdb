"""The main loop of a runner: reads requests from its socket and passes them to `work`; the server's side is `client`.

Three threads run beside the engine's: this one reads, one writes (`outbox`), and one sends heartbeats. When the socket
closes, the process ends at once, whatever it is doing.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from mlxbuild.runtime.model.blas import prefer_openblas
from mlxbuild.runtime.protocol import codec as plain
from mlxbuild.runtime.protocol.failures import as_failure
from mlxbuild.runtime.runner import frames
from mlxbuild.runtime.runner.event_writer import EventWriter
from mlxbuild.runtime.runner.running_requests import RunningRequests
from mlxbuild.runtime.runner.stacks import tell_when_asked

BEAT_SECONDS = 1.0
ENDED_AT_WORK = 3
"""The exit code if temporary files may be half written; see `scratch`."""


def serve(connection: socket.socket) -> None:
    """Load the model that the first message names, then answer requests until the socket closes or `stop` arrives."""
    tell_when_asked()
    prefer_openblas()  # before anything loads MLX
    outbox = EventWriter(connection)
    work: RunningRequests | None = None
    while True:
        try:
            message = frames.receive_blocking(connection)
        except (OSError, frames.MalformedFrame):
            traceback.print_exc()
            message = None
        match message:
            case ["load", str(folder), dict(settings)] if work is None:
                work = RunningRequests(Path(folder), outbox, **settings)
                threading.Thread(target=_beat, args=(work, outbox), name="heart", daemon=True).start()
            case ["ask", int(number), request] if work is not None:
                _ask(work, outbox, number, request)
            case ["cancel", int(number)] if work is not None:
                work.cancel(number)
            case ["limit", int(cache_bytes), int(prefix_bytes)] if work is not None:
                work.limit(cache_bytes, prefix_bytes)
            case ["stop"]:
                outbox.close()
                os._exit(ENDED_AT_WORK if work is not None and work.vitals().working_seconds else 0)
            case None:
                os._exit(1)
            case _:
                outbox.say("failed", as_failure(frames.MalformedFrame(f"`{message[0]}` is not understood here")))
                outbox.close()
                os._exit(1)


def _ask(work: RunningRequests, outbox: EventWriter, number: int, request: Any) -> None:
    try:
        asked = plain.read(request)
    except (ValueError, TypeError, KeyError) as error:
        traceback.print_exc()
        outbox.tell([(number, as_failure(frames.MalformedFrame(f"a request cannot be read: {error}")))])
        return
    work.ask(number, asked)


def _beat(work: RunningRequests, outbox: EventWriter) -> None:
    while True:
        time.sleep(BEAT_SECONDS)
        outbox.say("beat", work.vitals())
        if work.is_over:
            outbox.close()
            os._exit(ENDED_AT_WORK)
