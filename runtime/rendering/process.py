"""The main loop of a renderer: renders one template after another, each within its time; `renderer` is the other side.

The time is processor time, so that a busy machine makes no template fail. After half as much time again the system
kills this process, as Python handles no signal inside a long multiplication or regular expression.
"""

from __future__ import annotations

import importlib
import os
import resource
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from mlxbuild.runtime.rendering.budget import TooMuch
from mlxbuild.runtime.rendering.compiled import rendered, variables_of
from mlxbuild.runtime.rendering.limits import Limits
from mlxbuild.runtime.rendering.messages import (
    Failure,
    Fault,
    Request,
    Trial,
    decode_request,
    encode_answer,
    receive,
    send,
    too_long,
)
from mlxbuild.runtime.rendering.trial import try_splitting

MEMORY_BYTES = 2 * 1024 * 1024 * 1024
"""The limit on address space, where the system enforces it (Linux) and the user has not set a lower one."""
_TIMES_TO_THE_END = 1.5


class TooLong(TooMuch):
    """A template exceeds its time."""


def serve(connection: socket.socket) -> None:
    """Answer requests until the other end closes the connection."""
    _limit_memory()
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # kills the process
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF, signal.SIGVTALRM})  # masks are inherited
    try:
        while (body := receive(connection)) is not None:
            send(connection, _answer(decode_request(body)))
    except ConnectionError:
        os._exit(1)  # the other process ended meanwhile


def _answer(request: Request | Trial) -> bytes:
    try:
        if isinstance(request, Trial):
            importlib.import_module("tokenizers")  # outside of the timed part, as it takes longer than many trials
            with _timed(request.limits):
                try_splitting(request.splitting)
                return encode_answer("")
        with _timed(request.limits):
            if request.variables is None or request.now is None:
                return encode_answer(variables_of(request.text, request.limits))
            return encode_answer(rendered(request.text, request.variables, request.now, request.limits))
    except Failure as failure:
        return encode_answer(failure)
    except TooMuch as error:
        return encode_answer(Failure(Fault.COSTLY, str(error)))
    except MemoryError:
        return encode_answer(Failure(Fault.COSTLY, "the chat template takes too much memory"))
    except Exception as error:  # noqa: BLE001 - this process has further requests to answer
        return encode_answer(Failure(Fault.BROKEN, f"{type(error).__name__}: {error}"))


@contextmanager
def _timed(limits: Limits) -> Iterator[None]:
    def end(_: int, __: FrameType | None) -> NoReturn:
        raise TooLong(too_long(limits))

    signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_PROF, limits.seconds * _TIMES_TO_THE_END)
    signal.setitimer(signal.ITIMER_VIRTUAL, limits.seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)


def _limit_memory() -> None:
    given, most = resource.getrlimit(resource.RLIMIT_AS)
    wanted = MEMORY_BYTES if given == resource.RLIM_INFINITY else min(MEMORY_BYTES, given)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (wanted, most))
    except (OSError, ValueError):  # macOS refuses a limit below what is mapped already
        return
