"""Writes safetensors with any dtype, MLX's own or not, from arrays of MLX or of numpy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx


def write_safetensors(path: Path, tensors: Mapping[str, tuple[str, Any]]) -> None:
    """Tensor name to (dtype as in the header, array whose bytes are stored)."""
    header, bodies, begin = {}, [], 0
    for name, (dtype, array) in tensors.items():
        body = _bytes(array)
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [begin, begin + len(body)]}
        begin += len(body)
        bodies.append(body)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(bodies))


def _bytes(array: Any) -> bytes:
    if isinstance(array, mx.array):
        return bytes(memoryview(mx.contiguous(array).reshape(-1).view(mx.uint8)))
    return bytes(array.tobytes())
