"""Merges low-rank updates into rows of a weight, like PEFT's `merge_and_unload`, with the same bytes on any machine.

`LoraLayer.merge` of https://github.com/huggingface/peft adds `(B @ A) * scaling` to the base's weight in float32, and
rounds the sum to the weight's dtype.
"""

from __future__ import annotations

import mlx.core as mx

from mlxbuild.toolchain.weights.adapters import product
from mlxbuild.toolchain.weights.decoded import DecodedTensor
from mlxbuild.toolchain.weights.dtypes import MLX_DTYPES
from mlxbuild.toolchain.weights.formats.decoding import Decoded, TensorParts
from mlxbuild.toolchain.weights.peft.mapping import WEIGHT_PART


def merged_rows(tensor: DecodedTensor, parts: TensorParts, begin: int, end: int) -> Decoded:
    """The rows of a tensor that `toolchain.weights.peft.mapping` has planned."""
    dtype = MLX_DTYPES[tensor.dtype]
    rows = parts.rows(WEIGHT_PART, begin, end).astype(dtype)
    for number, term in enumerate(tensor.parameters["terms"]):
        a, b = f"a.{number}", f"b.{number}"
        if term["transposed"]:
            update = product(parts.columns(a, begin, end).T, parts.whole(b).T)
        else:
            update = product(parts.rows(b, begin, end), parts.whole(a))
        rows = (rows.astype(mx.float32) + update * term["scale"]).astype(dtype)
    return Decoded(rows, None)
