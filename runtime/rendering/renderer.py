"""The client of one renderer process; `process` is what it runs, and `standing` chooses which one to ask."""

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
"""The timeout for a renderer that was suspended or gets no processor; its own time limit ends it long before."""
_ENDING_SECONDS = 2.0
_CRASHES = frozenset({signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV, signal.SIGTRAP})
_KEPT_VARIABLES = ("LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""The environment variables that an interpreter needs to start and to format dates, and no secrets."""


class RendererLost(EnvironmentFailure):
    """The process that renders chat templates could not be started, or was killed from outside."""

    code = "renderer-lost"


class Renderer:
    """A renderer process in a fresh interpreter. For one thread at a time.

    It ends when its socket closes, and so with this process. While it renders it does not read the socket, but its time
    limit ends it. A parent death signal (`runtime.runner.orphan`) would be sent when the thread that started it ends,
    though other threads still use it.
    """

    def __init__(self) -> None:
        """Start the process without waiting for it.

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
                    start_new_session=True,  # Ctrl-C at the terminal should reach only this process
                )
        except OSError as error:
            raise RendererLost(f"no process can be begun to render chat templates: {error}") from None
        self._connection.settimeout(_STANDSTILL_SECONDS)

    def ask(self, body: bytes) -> bytes | None:
        """Send a request and return the answer; None if the process has ended or timed out."""
        try:
            send(self._connection, body)
            return receive(self._connection)
        except OSError:
            return None
        except BaseException:
            self.kill()  # or its answer would be taken for the answer to the next request
            raise

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
        return self._process.poll() is None

    @property
    def process_id(self) -> int:
        """The operating system's id of the process."""
        return self._process.pid

    def kill(self) -> str:
        """Kill the process if it still runs; returns how it ended."""
        self._connection.close()
        with suppress(ProcessLookupError):
            self._process.kill()
        code = self._process.wait()
        return f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"

    @property
    def was_timed_out(self) -> bool:
        """Whether its own time limit killed it."""
        return self._process.returncode == -signal.SIGPROF

    @property
    def has_crashed(self) -> bool:
        """Whether its request crashed it."""
        return -(self._process.returncode or 0) in _CRASHES

    def close(self) -> None:
        """Let the process end by itself; kill it if it does not in time."""
        self._connection.close()
        try:
            self._process.wait(_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def forsake(self) -> None:
        """Close this side's socket in a process that was forked from the one that started the renderer."""
        self._connection.close()


def _environment(whole: Mapping[str, str]) -> dict[str, str]:
    return {name: whole[name] for name in _KEPT_VARIABLES if name in whole}
