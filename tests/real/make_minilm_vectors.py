"""Made `minilm_vectors.json` once, in an environment of its own, for it needs torch:

pip install sentence-transformers==6.2.0 torch==2.15.0 && python -m tests.real.make_minilm_vectors
"""

from __future__ import annotations

import json
from pathlib import Path

from sentence_transformers import SentenceTransformer

PLACE = Path(__file__).with_name("minilm_vectors.json")
MODEL = Path(__file__).parents[2] / ".cache" / "models" / "all-MiniLM-L6-v2"
TEXTS = (
    "A man is eating a piece of bread.",
    "A man is eating food.",
    "A woman is playing the violin.",
    "How do I reset my password?",
    "I forgot my login, what can I do?",
    "Der Hund läuft über die Straße. 犬が道を渡る。 🐕",
    "x",
    "The river rose for three days, and on the fourth the bridge was gone. " * 40,
)
"""Two pairs of near sentences, one apart, other scripts, one token, and one beyond the 256 tokens that it reads."""


def main() -> None:
    """Write the vectors, eight digits each."""
    vectors = SentenceTransformer(str(MODEL), device="cpu").encode(list(TEXTS))
    rows = [
        {"text": text, "vector": [round(float(number), 8) for number in vector]}
        for text, vector in zip(TEXTS, vectors, strict=True)
    ]
    PLACE.write_text(json.dumps(rows, ensure_ascii=False, indent=None, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
