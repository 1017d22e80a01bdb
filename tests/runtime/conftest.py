"""One tiny model for all of the runtime's tests that only read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.session import LoadedModel
from tests.runtime.tiny_folders import write_model


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random qwen3 in float32."""
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def tiny(tiny_folder: Path) -> LoadedModel:
    """The same, opened anew: nothing in its prompt cache."""
    return LoadedModel(tiny_folder)
