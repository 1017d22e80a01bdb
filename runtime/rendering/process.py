"""A renderer from inside: one template after the other, each within its time. The side that asks: `renderer`.

Processor time is what counts, so a busy machine refuses nothing. Half as much again as a template may take, and the
system ends this process, whatever it does: Python hears no signal inside a long multiplication or regular expression.
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
"""Of address space, where the system keeps to that (Linux), and the user has set no less."""
_TIMES_TO_THE_END = 1.5


class TooLong(TooMuch):
    """The time of a template is over."""


def serve(connection: socket.socket) -> None:
    """Answer requests until nobody is left to ask."""
    _limit_memory()
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF, signal.SIGVTALRM})  # masks are inherited
    try:
        while (body := receive(connection)) is not None:
            send(connection, _answer(decode_request(body)))
    except ConnectionError:
        os._exit(1)  # whoever asked ended meanwhile


def _answer(request: Request | Trial) -> bytes:
    try:
        if isinstance(request, Trial):
            importlib.import_module("tokenizers")  # takes longer than many a trial
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
    except Exception as error:  # noqa: BLE001 - whatever it is, this process has others to answer
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
    except (OSError, ValueError):  # macOS takes no limit that is below what is mapped already
        return
