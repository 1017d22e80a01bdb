"""Writes a recipe over a tiny GGUF file with blocks of every type that stays quantized, for builds on two machines."""

from __future__ import annotations

import sys
from pathlib import Path

from mlxbuild.toolchain.weights.formats.gguf_layout import FORMS, PLAIN
from tests.toolchain.sources.gguf.tiny_gguf import tiny_gguf

RECIPE = """\
name: tiny-gguf
version: "1.0"
base: {gguf: tiny.gguf}
variants:
  quantization: [keep, int8]
  dtype: [null, bfloat16]
  exclude: [{quantization: int8, dtype: null}]
"""

folder = Path(sys.argv[1])
folder.mkdir()
tiny_gguf(folder / "tiny.gguf", [*FORMS, *PLAIN])
(folder / "ModelSpec.yaml").write_text(RECIPE)
