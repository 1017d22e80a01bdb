"""Where the real models lie that tests use. They are fetched by `make models`; their forms are made elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / ".cache" / "models"
SMOLLM2_GGUF = FOLDER / "SmolLM2-135M-Instruct.Q4_1.gguf"
"""SmolLM2-135M-Instruct as its package carries it: every matrix in groups of 32 with 4 bits each."""
SMOLLM2 = FOLDER / "SmolLM2-135M-Instruct"
"""The same numbers as a folder in the Hugging Face layout, in float16. It tells nothing of the quality of 4 bits:
rounded again in groups of 64 it answers nonsense."""
MINILM = FOLDER / "all-MiniLM-L6-v2"
"""An encoder for sentences, as `sentence-transformers` publishes it."""


def require(place: Path) -> Path:
    """A real model, which CI has to have (`MLXBUILD_REQUIRE_REAL_PARTS=1`); elsewhere its tests are left."""
    if not place.exists():
        reason = f"the model {place.name} is not here: `make models`"
        if os.environ.get("MLXBUILD_REQUIRE_REAL_PARTS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return place
