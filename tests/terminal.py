"""Runs a program on a terminal of its own, as a person has one, and returns what the terminal shows."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path


def run_on_terminal(
    words: Sequence[str], folder: Path, environment: Mapping[str, str], *, typed: str = "", seconds: float = 120
) -> tuple[int, str]:
    """Run a program to its end; `typed` is what the person types.

    Raises:
        TimeoutError: it was still running after that time, and was killed.
    """
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            words, cwd=folder, env=dict(environment) | {"TERM": "xterm"}, stdin=theirs, stdout=theirs, stderr=theirs
        )
    finally:
        os.close(theirs)
    os.write(ours, typed.encode())
    shown = bytearray()
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if select.select([ours], [], [], 0.1)[0]:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other side is closed
                part = b""
            if not part:
                break
            shown += part
    else:
        process.kill()
        process.wait()
        raise TimeoutError(shown.decode())
    os.close(ours)
    return process.wait(), shown.decode().replace("\r\n", "\n")
