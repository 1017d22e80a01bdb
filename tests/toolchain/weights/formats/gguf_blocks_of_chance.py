"""Random blocks of every type that the `gguf` package reads, with scales as weights have them, in files of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

HALVES = {
    **dict.fromkeys(("Q4_0", "Q5_0", "Q8_0", "IQ4_NL", "IQ4_XS", "IQ2_XXS", "IQ2_XS", "IQ2_S"), (0,)),
    **dict.fromkeys(("IQ3_XXS", "IQ3_S", "IQ1_S"), (0,)),
    **dict.fromkeys(("Q4_1", "Q5_1", "Q4_K", "Q5_K"), (0, 2)),
    "Q6_K": (208,), "Q3_K": (108,), "Q2_K": (80, 82), "TQ1_0": (52,), "TQ2_0": (64,),
}  # fmt: skip
"""Where a type's blocks hold float16 numbers."""


def blocks(kind: str, rows: int, columns: int, seed: int = 0) -> Any:
    """Rows of blocks as bytes."""
    chance = np.random.default_rng(seed)
    if kind in ("F32", "F16"):
        numbers = chance.normal(size=(rows, columns)) * 0.05
        return numbers.astype(np.float32 if kind == "F32" else np.float16).view(np.uint8)
    if kind == "BF16":
        numbers = chance.normal(size=(rows, columns)).astype(np.float32)
        return (numbers.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    numbers_of, size = gguf.GGML_QUANT_SIZES[Type[kind]]
    data = chance.integers(0, 256, (rows, columns // numbers_of, size), dtype=np.uint8)
    for place in HALVES.get(kind, ()):
        halves = (chance.normal(size=data.shape[:2]) * 0.01 + 0.02).astype(np.float16)
        data[..., place : place + 2] = halves.view(np.uint8).reshape(*data.shape[:2], 2)
    if kind == "MXFP4":
        data[..., 0] = chance.integers(110, 130, data.shape[:2])
    return data.reshape(rows, -1)


def numbers(kind: str, data: Any) -> Any:
    """What the `gguf` package says that rows of blocks mean, as float32."""
    return gguf.quants.dequantize(data, Type[kind]).astype(np.float32)


def write(path: Path, tensors: Mapping[str, tuple[str, Any]], *, architecture: str = "llama", **fields: Any) -> Path:
    """A file with tensors of (type, rows of blocks as bytes); `fields` are keys of the metadata with `__` for dots."""
    writer = gguf.GGUFWriter(path, architecture)
    for name, value in fields.items():
        key = name.replace("__", ".")
        match value:
            case bool():
                writer.add_bool(key, value)
            case int():
                writer.add_uint32(key, value)
            case float():
                writer.add_float32(key, value)
            case str():
                writer.add_string(key, value)
            case _:
                writer.add_array(key, value)
    for name, (kind, data) in tensors.items():
        if kind in ("F32", "F16"):
            plain = data.view(np.float32 if kind == "F32" else np.float16)
            writer.add_tensor(name, plain[:, 0] if plain.shape[-1] == 1 else plain)
        else:
            writer.add_tensor(name, data, raw_dtype=Type[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
