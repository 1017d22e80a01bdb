"""Prints one digest for every way in which weights can be stored, from numbers that are the same on every machine.

Two architectures agree when their outputs are equal. Whole builds are compared elsewhere.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from hashlib import sha256

import mlx.core as mx
import mlx.nn as nn

from mlxbuild.toolchain.spec.resolved import QuantizationScheme
from mlxbuild.toolchain.weights.adapters import LowRankUpdate, fused
from mlxbuild.toolchain.weights.device import cpu_device
from mlxbuild.toolchain.weights.encoding import Encoding, slices_of

ROWS, COLUMNS = 96, 512
SLICE_BYTES = 1 << 16
RANK = 16
DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16, "float16": mx.float16}
SCHEMES = [
    *(QuantizationScheme("affine", bits, size) for bits in (2, 3, 4, 5, 6, 8) for size in (32, 64, 128)),
    QuantizationScheme("mxfp4", 4, 32),
    QuantizationScheme("mxfp8", 8, 32),
    QuantizationScheme("nvfp4", 4, 16),
]


def random_words(seed: int, count: int) -> mx.array:
    """Random 32-bit words from the standard library, which promises the same ones everywhere."""
    return mx.array(memoryview(random.Random(seed).randbytes(4 * count)).cast("I"))


def uniform(seed: int, rows: int, columns: int) -> mx.array:
    """Numbers in [-1, 1) with full mantissas."""
    words = random_words(seed, rows * columns).view(mx.int32)
    return (words.astype(mx.float32) * 2.0**-31).reshape(rows, columns)


def wide(seed: int, rows: int, columns: int) -> mx.array:
    """Any sign and mantissa, exponents from 2^-14 to 2: some are subnormal or zero in the small formats."""
    mantissas = random_words(seed, rows * columns) & 0x807F_FFFF
    exponents = random_words(seed + 1, rows * columns) % 16 + (127 - 14)
    return (mantissas | (exponents << 23)).view(mx.float32).reshape(rows, columns)


def integers(seed: int, rows: int, columns: int) -> mx.array:
    """Small integers with many ties: where rounding could differ."""
    words = random_words(seed, rows * columns) % 33
    return (words.astype(mx.float32) - 16).reshape(rows, columns)


def digest_of(weight: mx.array, scheme: QuantizationScheme | None) -> str:
    """Of the bytes that a build would store for a weight."""
    encoding = Encoding("layer.weight", weight.shape, weight.dtype, scheme)
    hasher = sha256()
    for buffer in encoding.buffers(lambda: slices_of(weight, SLICE_BYTES)):
        hasher.update(buffer)
    return hasher.hexdigest()


def adapted(weight: mx.array) -> mx.array:
    """A weight with a LoRA adapter fused into it."""
    rows, columns = weight.shape
    update = LowRankUpdate(20.0, uniform(7, columns, RANK) * 0.1, uniform(8, RANK, rows) * 0.1)
    return fused(weight, nn.Linear(columns, rows, bias=False), "layer", [update])


def computed(weight: mx.array) -> Iterator[tuple[str, mx.array]]:
    """What architectures compute from a checkpoint's weights: all the arithmetic in mlx-lm's `sanitize` functions."""
    yield "from 8 bits float", mx.from_fp8(mx.to_fp8(weight), dtype=mx.bfloat16)
    yield "dequantized", mx.dequantize(*mx.quantize(weight, 64, 4), 64, 4)
    yield "normalized", weight / (mx.linalg.norm(weight, axis=-1, keepdims=True) + 1e-7)


def cases() -> Iterator[tuple[str, str]]:
    """(what was stored, digest of its bytes)."""
    sources: dict[str, Callable[[int, int, int], mx.array]] = {"uniform": uniform, "wide": wide, "integers": integers}
    for name, make in sources.items():
        source = make(1, ROWS, COLUMNS)
        for dtype_name, dtype in DTYPES.items():
            weight = source.astype(dtype)
            yield f"{name} {dtype_name} cast", digest_of(weight, None)
            yield f"{name} {dtype_name} fused", digest_of(adapted(weight), None)
            for way, result in computed(weight):
                yield f"{name} {dtype_name} {way}", digest_of(result, None)
            for scheme in SCHEMES:
                label = f"{scheme.mode} {scheme.bits} bits, groups of {scheme.group_size}"
                yield f"{name} {dtype_name} {label}", digest_of(weight, scheme)


def main() -> None:
    """Print every case."""
    with cpu_device():
        for case, digest in cases():
            print(f"{case}: {digest}")


if __name__ == "__main__":
    main()
