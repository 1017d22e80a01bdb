"""One process that renders, seen from outside. What it does: `process`; which one is asked: `standing`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress

from mlxbuild.registry.core.errors import EnvironmentFailure
from mlxbuild.runtime.rendering.messages import receive, send

_STANDSTILL_SECONDS = 60.0
"""After which one is ended that was stopped, or that the machine cannot run; its own clock comes long before."""
_ENDING_SECONDS = 2.0
_KEPT_VARIABLES = ("LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""Of the environment: what an interpreter needs to begin and to write dates, and nothing secret."""


class RendererLost(EnvironmentFailure):
    """There is no process that could render chat templates, or it was ended from outside."""

    code = "renderer-lost"


class Renderer:
    """A process of our own code in a fresh interpreter. For one thread at a time.

    It ends when its socket closes, so with this process, whatever ends that. While it renders it does not look at the
    socket; its clock ends it then. A death signal (`runtime.runner.orphan`) would come with the end of the thread that
    began it, though others go on asking.
    """

    def __init__(self) -> None:
        """Begin it; it is not waited for.

        Raises:
            RendererLost: the system has no process or no socket left.
        """
        try:
            self._connection, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    (sys.executable, "-I", "-m", "mlxbuild.runtime.rendering"),
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    cwd="/",
                    env=_environment(os.environ),
                    start_new_session=True,  # an interrupt at the terminal is for this process
                )
        except OSError as error:
            raise RendererLost(f"no process can be begun to render chat templates: {error}") from None
        self._connection.settimeout(_STANDSTILL_SECONDS)

    def ask(self, body: bytes) -> bytes | None:
        """The answer to a request; None when the process has ended instead, or had to be."""
        try:
            send(self._connection, body)
            return receive(self._connection)
        except OSError:
            return None
        except BaseException:
            self.kill()  # its answer would be taken for that to the next request
            raise

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    @property
    def process_id(self) -> int:
        """Of the operating system."""
        return self._process.pid

    def kill(self) -> str:
        """End it now, if it has not ended; returns how it came to its end."""
        self._connection.close()
        with suppress(ProcessLookupError):
            self._process.kill()
        code = self._process.wait()
        return f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"

    @property
    def was_timed_out(self) -> bool:
        """Whether its own clock has ended it."""
        return self._process.returncode == -signal.SIGPROF

    def close(self) -> None:
        """Let it end by itself, and see that it does."""
        self._connection.close()
        try:
            self._process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def forsake(self) -> None:
        """Let go of it without a word, in a process that was forked from the one which began it."""
        self._connection.close()


def _environment(whole: Mapping[str, str]) -> dict[str, str]:
    return {name: whole[name] for name in _KEPT_VARIABLES if name in whole}
