"""Starts and kills the process of a runner; `client` talks to it, and `process` is what it runs."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mlxbuild.runtime.runner.environment import least_environment
from mlxbuild.runtime.runner.scratch import Scratch

_KERNELS_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class RunnerProcess:
    """A runner's process, with the streams of its socket and its temporary folder."""

    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    scratch: Scratch

    @property
    def output(self) -> asyncio.StreamReader:
        """The output of the process and its libraries."""
        assert self.process.stdout is not None
        return self.process.stdout

    def signal(self, number: signal.Signals) -> None:
        """Send the process a signal, if it still runs."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def kill(self) -> None:
        """Kill the process and any compilers that it has started."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    async def ends_within(self, seconds: float) -> bool:
        """Wait for the process to end; returns whether it did in time."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), seconds)
        return self.process.returncode is not None


async def spawn(scratch_root: Path) -> RunnerProcess:
    """Start a runner in a fresh interpreter with a minimal environment; MLX does not survive a fork.

    Raises:
        OSError: the process cannot be started.
    """
    scratch = Scratch.take(scratch_root)
    ours, theirs = socket.socketpair()
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-m", "mlxbuild.runtime.runner", str(theirs.fileno()), str(os.getpid())),
            pass_fds=(theirs.fileno(),),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=least_environment(os.environ, scratch.folder) | _without_compiling(scratch.folder),
            start_new_session=True,  # Ctrl-C at the terminal should reach only the server, which stops its runners
        )
        reader, writer = await asyncio.open_unix_connection(sock=ours)
    except BaseException:
        ours.close()  # which ends the process if it was started
        scratch.give_back(in_order=False)
        raise
    finally:
        theirs.close()
    return RunnerProcess(process, reader, writer, scratch)


def _without_compiling(folder: Path) -> dict[str, str]:
    """Switch off MLX's compiling of CPU kernels on Linux if the disk has no space for them; results stay the same."""
    fits = sys.platform != "linux" or shutil.disk_usage(folder).free >= _KERNELS_BYTES
    return {} if fits else {"MLX_DISABLE_COMPILE": "1"}
