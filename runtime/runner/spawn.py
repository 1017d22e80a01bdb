"""Begins and ends the process of a runner. What is said to it: `client`; what it does with that: `process`."""

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
class Spawned:
    """A process that waits for its first message."""

    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    scratch: Scratch

    @property
    def output(self) -> asyncio.StreamReader:
        """Whatever it and its libraries print."""
        assert self.process.stdout is not None
        return self.process.stdout

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it is still there."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def kill(self) -> None:
        """End it at once, with the compilers that it may have started."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    async def ends_within(self, seconds: float) -> bool:
        """Wait for its end; whether it came in time."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), seconds)
        return self.process.returncode is not None


async def spawn(scratch_root: Path) -> Spawned:
    """A fresh interpreter of our own code, with the least environment; never a fork, which MLX does not survive.

    Raises:
        OSError: there is no process to be had.
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
            start_new_session=True,  # an interrupt at the terminal is for the server, which ends its runners
        )
        reader, writer = await asyncio.open_unix_connection(sock=ours)
    except BaseException:
        ours.close()  # which ends a process that was begun
        scratch.give_back(in_order=False)
        raise
    finally:
        theirs.close()
    return Spawned(process, reader, writer, scratch)


def _without_compiling(folder: Path) -> dict[str, str]:
    """MLX cannot keep the kernels that it compiles for a CPU of Linux on a full disk; without, it computes the same."""
    fits = sys.platform != "linux" or shutil.disk_usage(folder).free >= _KERNELS_BYTES
    return {} if fits else {"MLX_DISABLE_COMPILE": "1"}
