"""Writes the trained model as a checkpoint folder, byte for byte the same for the same parameters."""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten


def write_weights(parameters: dict[str, Any], path: Path) -> None:
    """Write bfloat16 safetensors: names sorted, header padded to 8 bytes, data in the order of the header."""
    flat: Any = tree_flatten(parameters)
    tensors: list[tuple[str, mx.array]] = sorted(flat)
    header: dict[str, Any] = {"__metadata__": {"format": "mlx"}}
    offset = 0
    for name, value in tensors:
        header[name] = {
            "dtype": "BF16",
            "shape": list(value.shape),
            "data_offsets": [offset, offset + 2 * value.size],
        }
        offset += 2 * value.size
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    with path.open("wb") as file:
        file.write(len(head).to_bytes(8, "little") + head)
        for _, value in tensors:
            file.write(np.array(value.astype(mx.bfloat16).view(mx.uint16)).astype("<u2").tobytes())


def write_config(config: dict[str, Any], path: Path) -> None:
    """Write a JSON file with sorted keys."""
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
