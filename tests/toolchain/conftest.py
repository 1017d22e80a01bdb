"""A Hub with its client's cache, and a clock that does not wait, for everything that reads sources."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub_server import LocalHub


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
