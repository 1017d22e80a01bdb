"""Starts servers as a person would, ours and mlx-lm's, and ends them. What is asked of them is decided elsewhere."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measurement import ordinary_environment
from benchmarks.workplace import MLXBUILD, OFFLINE, Home

_PATIENCE_SECONDS = 60
_LOOK_SECONDS = 0.005
OPENBLAS = "libopenblas.so.0"


@dataclass(frozen=True, slots=True)
class Server:
    """A server on this machine."""

    port: int
    process: subprocess.Popen[bytes]
    start_seconds: float
    """Until it answered for the first time."""


@contextmanager
def ours(home: Home, *options: str, environment: Mapping[str, str] = {}) -> Iterator[Server]:
    """`mlxbuild serve` over a home."""
    port = _free_port()
    command = [MLXBUILD, "serve", "--port", str(port), *options]
    with _running(command, port, "/", {"MLXBUILD_HOME": str(home.folder), **environment}) as server:
        yield server


@contextmanager
def mlx_lm(folder: Path, *options: str) -> Iterator[Server]:
    """`mlx_lm.server` over a folder, with the matrix library that ours takes where there is one."""
    port = _free_port()
    command = [sys.executable, "-m", "mlx_lm", "server", "--model", folder, "--port", str(port), *options]
    with _running([*command, "--log-level", "ERROR"], port, "/health", {"LD_PRELOAD": OPENBLAS}) as server:
        yield server


@contextmanager
def _running(command: Sequence[str | Path], port: int, path: str, environment: Mapping[str, str]) -> Iterator[Server]:
    began = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command],
        env={**ordinary_environment(), **OFFLINE, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for_answer(process, f"http://127.0.0.1:{port}{path}")
        yield Server(port, process, time.perf_counter() - began)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_answer(process: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(address, timeout=1):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(_LOOK_SECONDS)
    raise RuntimeError(f"no server answered at {address}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
