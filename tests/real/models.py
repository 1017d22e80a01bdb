"""Where the real models lie that tests use. They are fetched by `make models`; their forms are made elsewhere."""

from __future__ import annotations

from pathlib import Path

from tests import real_parts

FOLDER = Path(__file__).parents[2] / ".cache" / "models"
SMOLLM2_GGUF = FOLDER / "SmolLM2-135M-Instruct.Q4_1.gguf"
"""SmolLM2-135M-Instruct as its package carries it: every matrix in groups of 32 with 4 bits each."""
SMOLLM2 = FOLDER / "SmolLM2-135M-Instruct"
"""The same numbers as a folder in the Hugging Face layout, in float16. It tells nothing of the quality of 4 bits:
rounded again in groups of 64 it answers nonsense."""
MINILM = FOLDER / "all-MiniLM-L6-v2"
"""An encoder for sentences, as `sentence-transformers` publishes it."""


def require(place: Path) -> Path:
    """A real model; without it the test ends here (see `tests.real_parts`)."""
    if not place.exists():
        real_parts.missing(f"the model {place.name}", "`make models`")
    return place
