"""What every floor's tests share: a home of their own, a Hub, and the real tools that they check against."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store
from tests import real_parts, real_tools
from tests.hub_server import LocalHub
from tests.ollama_registry import LocalOllamaRegistry
from tests.work_units import WorkUnits

# Containers often have Python keep no bytecode; then each process that a test starts compiles what it imports.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Builds are stricter under CI, about locks and versions; the tests of that say so themselves.
os.environ.pop("CI", None)

# MLX compiles kernels for a CPU into one folder of all processes, where those that test at once would meet each other's
# half-written files. What it computes is the same without.
os.environ.setdefault("MLX_DISABLE_COMPILE", "1")

# Shells have background jobs ignore interrupts, and so would every process that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Two threads that hand each other a tiny model's operations, one by one, do it with a third less work on one core than
# across two. What they start runs there too.
if (worker := os.environ.get("PYTEST_XDIST_WORKER")) and hasattr(os, "sched_setaffinity"):
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})

# A busy machine is no mistake: how long an example takes is never asserted.
settings.register_profile("unhurried", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty home."""
    return Home(tmp_path / "home")


@pytest.fixture
def store(home: Home) -> Store:
    """A new store in that home."""
    return Store.open(home)


@pytest.fixture
def real_tool() -> Callable[[str], str]:
    """Finds a program of another project."""
    return real_tools.find


@pytest.fixture
def local_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """An empty Hub that the environment names, with an empty client cache and no token."""
    for variable in ("HF_TOKEN", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "huggingface" / "token"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with LocalHub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield hub


@pytest.fixture
def ollama_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Ollama keeps its models; nothing is there."""
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def ollama_registry(ollama_models: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalOllamaRegistry]:
    """An empty registry as Ollama's, on a machine without Ollama."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with LocalOllamaRegistry() as registry:
        yield registry


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Every pause that is asked for, in seconds; none is made longer than a few milliseconds."""
    asked: list[float] = []
    sleep = time.sleep

    def shortened(seconds: float) -> None:
        if seconds >= 0.5:
            asked.append(seconds)
            seconds = 0.005
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", shortened)
    return asked


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> WorkUnits | None:
    """What goes to a worker as one."""
    return WorkUnits(config, log) if config.getvalue("dist") == "loadscope" else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line what was left out."""
    reasons = [report.longrepr[2] for report in terminalreporter.getreports("skipped")]
    if (line := real_parts.summary(reasons)) is not None:
        terminalreporter.write_line(line, yellow=True)
