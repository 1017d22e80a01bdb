"""Starts servers as a person would, ours, mlx-lm's and llama.cpp's, and ends them.

What is asked of them is decided elsewhere."""

from __future__ import annotations

import importlib.util
import os
import shutil
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


def llama_cpp_command() -> list[str] | None:
    """How llama.cpp is served on this machine: by its own program, or by the one of its Python package; else None."""
    if program := shutil.which("llama-server"):
        return [program]
    has_package = all(importlib.util.find_spec(name) for name in ("llama_cpp", "uvicorn"))
    return [sys.executable, "-m", "llama_cpp.server"] if has_package else None


@contextmanager
def llama_cpp(file: Path) -> Iterator[Server]:
    """llama.cpp over a GGUF file, with as many threads as there are cores.

    Raises:
        RuntimeError: it is not there.
    """
    command = llama_cpp_command()
    if command is None:
        raise RuntimeError("there is neither llama-server nor llama_cpp with its server")
    port = _free_port()
    threads = ["--threads" if len(command) == 1 else "--n_threads", str(os.cpu_count())]
    with _running([*command, "--model", file, "--port", str(port), *threads], port, "/v1/models", {}) as server:
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
