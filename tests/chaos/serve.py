"""The server of a chaos run: a process that is started, watched, stopped by SIGTERM, and started again."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

STOP_SECONDS = 60
"""Within this the server ends after SIGTERM: its grace, the stop of its runners, and room for a busy machine."""


@dataclass(frozen=True)
class Sample:
    """What the server held at a time."""

    seconds: float
    memory_bytes: int
    descriptors: int
    threads: int
    children: int


class ChaosServer:
    """`mlxbuild serve` on one port, over many processes."""

    def __init__(self, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self._command = command
        self._environment = dict(environment)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.samples: list[Sample] = []
        """Since the last start."""

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self._log.open("ab") as log:
            begins = log.tell()
            self._process = subprocess.Popen(
                [*self._command, "serve", "--port", str(self.port)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stderr=log,
            )
        ends = time.monotonic() + STOP_SECONDS
        while time.monotonic() < ends:
            told = self._log.read_bytes()[begins:].decode()
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", told):
                self.port = int(found[1])
                httpx.get(f"{self.url}/api/health", timeout=30).raise_for_status()
                self.samples.clear()
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.1)
        raise RuntimeError(f"the server did not start: {self._log.read_text()[-2000:]}")

    def stop(self) -> float:
        """End it by SIGTERM; how many seconds that took. Kills what stays, and raises TimeoutExpired."""
        assert self._process is not None
        children = self.children()
        begun = time.monotonic()
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        seconds = time.monotonic() - begun
        _, alive = psutil.wait_procs(children, timeout=10)
        if alive:
            raise RuntimeError(f"processes outlive the server: {[child.cmdline() for child in alive]}")
        return seconds

    def kill(self) -> None:
        """Kill it if it is still there."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def alive(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    def children(self) -> list[psutil.Process]:
        """The processes that it started, and theirs."""
        assert self._process is not None
        try:
            return psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def sample(self, seconds: float) -> None:
        """Keep what it holds now."""
        assert self._process is not None
        try:
            process = psutil.Process(self._process.pid)
            with process.oneshot():
                self.samples.append(
                    Sample(
                        seconds,
                        process.memory_info().rss,
                        process.num_fds(),
                        process.num_threads(),
                        len(process.children(recursive=True)),
                    )
                )
        except psutil.Error:
            pass
