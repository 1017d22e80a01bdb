"""Runs commands of `mlxbuild` in forks of a process that has imported them: imports are most of what a test of commands
takes. How a process begins and what interrupts it are tested with the program itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

from mlxbuild.cli.main import main
from mlxbuild.cli.program import COMMANDS

_COMMANDS = (f"mlxbuild.cli.{name}_command" for name in COMMANDS)
_MORE = ("mlxbuild.toolchain.create", "mlxbuild.toolchain.steps.gate", "mlxbuild.runtime.loaded_model")
"""Nothing that reads the environment when it is imported, nor MLX: each command has to find OpenBLAS before it."""
_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(["__main__", __name__, *_COMMANDS, *_MORE])


def run(
    words: Sequence[str], folder: Path, environment: Mapping[str, str], stdin: str | None, seconds: float
) -> tuple[int, str, str]:
    """One command to its end: its exit code (below 0 for a signal), and what it wrote to both outputs.

    Raises:
        subprocess.TimeoutExpired: it was still running after that time, and was killed.
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write((stdin or "").encode())
        given.seek(0)
        files = (None if stdin is None else DupFd(given.fileno()), DupFd(out.fileno()), DupFd(err.fileno()))
        process = _CONTEXT.Process(target=_begin, args=(tuple(words), folder, dict(environment), files))
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(words, seconds)
        out.seek(0)
        err.seek(0)
        return process.exitcode, out.read().decode(), err.read().decode()


def _begin(words: Sequence[str], folder: Path, environment: Mapping[str, str], files: Sequence[Any]) -> None:
    """In the fork, make of it what the program is at its start."""
    for number, file in enumerate(files):
        if file is not None:
            os.dup2(descriptor := file.detach(), number)
            os.close(descriptor)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["mlxbuild", *words]
    main()
