"""The main loop of a renderer: answers one request after another, each within its time; `renderer` is the other side.

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
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from mlxbuild.runtime.rendering.budget import BudgetExceeded
from mlxbuild.runtime.rendering.compiled import rendered, variables_of
from mlxbuild.runtime.rendering.grammars import as_lark, compiling_fails, vocabulary
from mlxbuild.runtime.rendering.limits import Limits
from mlxbuild.runtime.rendering.messages import (
    AnyRequest,
    Compilation,
    Conversion,
    Failure,
    Request,
    TemplateFault,
    TokenizerTrial,
    decode_request,
    encode_answer,
    receive,
    send,
    too_long,
)
from mlxbuild.runtime.rendering.trial import try_splitting

MEMORY_BYTES = 2 * 1024 * 1024 * 1024
"""The limit on address space, where the system enforces it (Linux) and the user has not set a lower one."""
STACK_BYTES = 4 * 1024 * 1024
"""The limit on the stack: at most half of what a thread has that later runs what was tried here."""
_TIMES_TO_THE_END = 1.5


class TooLong(BudgetExceeded):
    """A template exceeds its time."""


def serve(connection: socket.socket) -> None:
    """Answer requests until the other end closes the connection."""
    _limit_memory()
    _limit_stack()
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # kills the process
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF, signal.SIGVTALRM})  # masks are inherited
    try:
        while (body := receive(connection)) is not None:
            send(connection, _answer(decode_request(body)))
    except ConnectionError:
        os._exit(1)  # the other process ended meanwhile


def _answer(request: AnyRequest) -> bytes:
    try:
        return encode_answer(_done(request))
    except Failure as failure:
        return encode_answer(failure)
    except BudgetExceeded as error:
        return encode_answer(Failure(TemplateFault.COSTLY, str(error)))
    except MemoryError:
        return encode_answer(Failure(TemplateFault.COSTLY, "the chat template takes too much memory"))
    except Exception as error:  # noqa: BLE001 - this process has further requests to answer
        return encode_answer(Failure(TemplateFault.BROKEN, f"{type(error).__name__}: {error}"))


def _done(request: AnyRequest) -> str | list[str]:
    match request:
        case TokenizerTrial(splitting, limits):
            importlib.import_module("tokenizers")  # outside of the timed part, as it takes longer than many trials
            with _timed(limits):
                try_splitting(splitting)
            return ""
        case Compilation(grammar, special_tokens, rows, limits):
            tokens = vocabulary(special_tokens, rows)
            with _timed(limits):
                return compiling_fails(grammar, tokens)
        case Conversion(grammar, limits):
            importlib.import_module("llguidance")
            with _timed(limits):
                return as_lark(grammar)
        case Request(text, limits, variables, now):
            with _timed(limits):
                if variables is None or now is None:
                    return variables_of(text, limits)
                return rendered(text, variables, now, limits)


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


def _limit_stack() -> None:
    given, most = resource.getrlimit(resource.RLIMIT_STACK)
    # Without a limit, the threads of a process have 2 MiB on Linux.
    wanted = STACK_BYTES // 4 if given == resource.RLIM_INFINITY else min(STACK_BYTES, given // 2)
    with suppress(OSError, ValueError):  # macOS refuses it; Python's threads have 16 MiB there
        resource.setrlimit(resource.RLIMIT_STACK, (wanted, most))
