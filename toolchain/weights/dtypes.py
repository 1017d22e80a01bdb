"""Converts between safetensors dtype names and MLX's dtypes."""

from __future__ import annotations

from typing import Final

import mlx.core as mx

MLX_DTYPES: Final = {
    "BOOL": mx.bool_,
    "U8": mx.uint8, "U16": mx.uint16, "U32": mx.uint32, "U64": mx.uint64,
    "I8": mx.int8, "I16": mx.int16, "I32": mx.int32, "I64": mx.int64,
    "F16": mx.float16, "BF16": mx.bfloat16, "F32": mx.float32, "F64": mx.float64, "C64": mx.complex64,
    "F8_E4M3": mx.uint8, "F8_E8M0": mx.uint8,
}  # fmt: skip
"""Dtypes as `mx.load` reads them; MLX cannot read others."""

SAFETENSORS_NAMES: Final = {dtype: name for name, dtype in MLX_DTYPES.items() if not name.startswith("F8")}
"""Dtype names as `mx.save_safetensors` writes them."""

EXPONENT_BITS: Final = {
    mx.float16: (mx.uint16, 0x7C00),
    mx.bfloat16: (mx.uint16, 0x7F80),
    mx.float32: (mx.uint32, 0x7F800000),
}
"""Floating dtype to the unsigned dtype of its size and its exponent bits; if all are set, it is NaN or infinity."""
