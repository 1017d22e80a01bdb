"""The tensors of an artifact, from the headers of its safetensors files; no weights are read.

Format: https://huggingface.co/docs/safetensors, "Format".
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mlxbuild.registry.artifact.reader import Artifact

_LONGEST_HEADER_BYTES = 100_000_000


def tensors(artifact: Artifact) -> Iterator[dict[str, Any]]:
    """The name, type and shape of each tensor, ordered by file and name."""
    for file in artifact.files:
        if file.path.endswith(".safetensors"):
            for name, entry in sorted(_header(artifact.store.path(file.blob.digest)).items()):
                if name != "__metadata__":
                    yield {"name": name, "type": entry["dtype"], "shape": entry["shape"]}


def _header(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        (size_bytes,) = struct.unpack("<Q", file.read(8))
        header: dict[str, Any] = json.loads(file.read(min(size_bytes, _LONGEST_HEADER_BYTES)))
    return header
