"""Runs commands and says what they cost: wall time, peak memory, bytes written. What is compared is decided elsewhere.

Memory is the peak of the summed resident sets of a whole process tree, looked at every five milliseconds, and at least
what the kernel says of its largest process. Bytes written are those that the tree had to send towards a disk, as
Linux accounts them to the parent that waits; other systems do not tell.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import IO, TypeVar

import psutil  # type: ignore[import-untyped]

_SAMPLE_SECONDS = 0.005
_SAMPLES_PER_LISTING = 4
_KERNEL_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024
_ACCOUNT = Path("/proc/self/io")

Result = TypeVar("Result")
Ours = TypeVar("Ours")
Peers = TypeVar("Peers")


class CommandFailed(RuntimeError):
    """A command that is measured did not do its work."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of a command took."""

    wall_seconds: float
    cpu_seconds: float
    """Of the process and of all that it waited for; hardly moved by what else the machine does."""
    peak_bytes: int
    """The greatest sum of resident sets over the process tree."""
    largest_bytes: int
    """The peak of the largest process in the tree, as the kernel noted it."""
    written_bytes: int | None
    """None where the system does not tell."""
    stdout: str


def run(command: Sequence[str | Path], *, folder: Path | None = None, environment: Mapping[str, str] = {}) -> Cost:
    """Run a command to its end.

    Args:
        command: Program and arguments.
        folder: Where it runs.
        environment: What is set beside the environment of this process.

    Raises:
        CommandFailed: it exits with anything but 0; with what it said on stderr.
    """
    arguments = [str(part) for part in command]
    os.sync()  # what the last run left in memory is not written at the cost of this one
    written_before = _written_bytes()
    begun = time.perf_counter()
    process = subprocess.Popen(
        arguments,
        cwd=folder,
        env={**ordinary_environment(), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    sampler = _Sampler(process.pid)
    readers = [_Reader(process.stdout), _Reader(process.stderr)]
    for thread in (sampler, *readers):
        thread.start()
    _, status, usage = os.wait4(process.pid, 0)
    wall_seconds = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    for thread in (sampler, *readers):
        thread.join()
    written_after = _written_bytes()
    stdout, stderr = (reader.text for reader in readers)
    if process.returncode:
        raise CommandFailed(f"{' '.join(arguments)} ended with {process.returncode}:\n{stderr[-4000:]}")
    return Cost(
        wall_seconds,
        usage.ru_utime + usage.ru_stime,
        max(sampler.peak_bytes, _largest_bytes(usage)),
        _largest_bytes(usage),
        None if written_before is None or written_after is None else written_after - written_before,
        stdout,
    )


def ordinary_environment() -> dict[str, str]:
    """This process's, without what keeps Python from remembering compiled modules: every start would compile them."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def side_by_side(runs: int, ours: Callable[[], Ours], peers: Callable[[], Peers]) -> tuple[list[Ours], list[Peers]]:
    """Run two things in turn, `runs` times: whatever else the machine does meets both alike.

    Both run once before, unmeasured, so that code and data lie in memory.
    """
    results = [(ours(), peers()) for _ in range(runs + 1)][1:]
    return [mine for mine, _ in results], [theirs for _, theirs in results]


def middle(results: Sequence[Result], what: Callable[[Result], float]) -> float:
    """The median of one figure over several runs."""
    return median(map(what, results))


class _Sampler(threading.Thread):
    """Watches the memory of a process and of all that descend from it, until it ends."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._root = psutil.Process(pid)
        self.peak_bytes = 0

    def run(self) -> None:
        with suppress(psutil.NoSuchProcess):
            while self._root.status() != psutil.STATUS_ZOMBIE:
                tree = [self._root, *self._root.children(recursive=True)]
                for _ in range(_SAMPLES_PER_LISTING):
                    self.peak_bytes = max(self.peak_bytes, sum(map(_resident_bytes, tree)))
                    time.sleep(_SAMPLE_SECONDS)


class _Reader(threading.Thread):
    """Takes what a command says, so that no pipe fills up."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        super().__init__(daemon=True)
        self._pipe = pipe
        self.text = ""

    def run(self) -> None:
        if self._pipe is not None:
            with self._pipe as pipe:
                self.text = pipe.read().decode(errors="replace")


def _resident_bytes(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        size: int = process.memory_info().rss
        return size
    return 0


def _largest_bytes(usage: resource.struct_rusage) -> int:
    return usage.ru_maxrss * _KERNEL_UNIT_BYTES


def _written_bytes() -> int | None:
    """What this process and all children that it waited for wrote so far."""
    try:
        rows = dict(line.split(": ") for line in _ACCOUNT.read_text().splitlines())
    except OSError:
        return None
    return int(rows["write_bytes"])
