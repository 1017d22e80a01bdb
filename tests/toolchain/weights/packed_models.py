"""Tiny models packed as other tools pack them, written with numpy from the published forms, and what they mean."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from mlxbuild.toolchain.weights.dtypes import SAFETENSORS_NAMES
from tests.toolchain.weights.raw_safetensors import write_safetensors
from tests.toolchain.weights.tiny_models import CONFIGURATIONS, published, random_parameters

Numbers = np.ndarray[Any, Any]
Stored = dict[str, tuple[str, Any]]

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])


@dataclass(frozen=True)
class Packed:
    """One packed matrix: what is stored (last name to dtype and array), and the numbers that it means."""

    stored: Stored
    means: Numbers


Pack = Callable[[Numbers, np.random.Generator], Packed]
"""Packs about these numbers, (rows, columns)."""


def write_packed(
    folder: Path,
    family: str,
    pack: Pack,
    quantization_config: Mapping[str, Any] | None,
    *,
    dtype: mx.Dtype = mx.bfloat16,
    **config: Any,
) -> dict[str, Numbers]:
    """A model whose projections are packed; returns what each packed `.weight` means."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {**CONFIGURATIONS[family], "torch_dtype": str(dtype).removeprefix("mlx.core."), **config}
    if quantization_config is not None:
        settings["quantization_config"] = quantization_config
    (folder / "config.json").write_text(json.dumps(settings))
    weights = published(family, CONFIGURATIONS[family], random_parameters(CONFIGURATIONS[family], dtype, 1))
    generator = np.random.default_rng(7)
    stored: Stored = {}
    means: dict[str, Numbers] = {}
    for name, array in weights.items():
        if "_proj.weight" in name and array.ndim == 2 and array.shape[1] % 32 == 0:
            module = name.removesuffix(".weight")
            packed = pack(np.array(array.astype(mx.float32)), generator)
            stored |= {f"{module}.{leaf}": each for leaf, each in packed.stored.items()}
            means[name] = packed.means
        else:
            stored[name] = (SAFETENSORS_NAMES[array.dtype], array)
    write_safetensors(folder / "model.safetensors", stored)
    return means


def as_e4m3(values: Numbers) -> tuple[Numbers, Numbers]:
    """The nearest E4M3 numbers, as bytes and as numbers, by comparing with all of them."""
    table = e4m3_table()
    order = np.argsort(table)
    ranked = table[order]
    above = np.clip(np.searchsorted(ranked, values), 1, len(ranked) - 1)
    nearer = np.where(values - ranked[above - 1] <= ranked[above] - values, above - 1, above)
    codes = order[nearer].astype(np.uint8)
    return codes, table[codes]


def e4m3_table() -> Numbers:
    """What each byte means: sign, 4 bits of exponent biased by 7, 3 of mantissa; the last of each sign is NaN."""
    codes = np.arange(256)
    sign, exponent, mantissa = np.where(codes >> 7, -1.0, 1.0), codes >> 3 & 15, codes & 7
    numbers = np.where(exponent > 0, (1 + mantissa / 8) * 2.0 ** (exponent - 7), mantissa / 8 * 2.0**-6)
    return np.where(codes & 127 == 127, 1e9 * sign, sign * numbers)


def fp8(scale_shape: Callable[[int, int], tuple[int, int]], name: str, *, powers: bool = False) -> Pack:
    """E4M3 under float32 scales of a shape, each for a block of equal size (but at the edges)."""

    def pack(values: Numbers, generator: np.random.Generator) -> Packed:
        rows, columns = values.shape
        down, across = scale_shape(rows, columns)
        height, width = (rows if down == 1 else -(-rows // down), columns if across == 1 else -(-columns // across))
        if down == -(-rows // 128) and across == -(-columns // 128):
            height = width = 128
        scales = generator.uniform(0.001, 0.002, (down, across)).astype(np.float32)
        if powers:
            scales = np.exp2(np.floor(np.log2(scales))).astype(np.float32)
        spread = np.repeat(np.repeat(scales, height, 0)[:rows], width, 1)[:, :columns]
        codes, numbers = as_e4m3(values / spread)
        shape = () if scale_shape(2**20, 2**20) == (1, 1) else (down, across)
        return Packed(
            {"weight": ("F8_E4M3", codes), name: ("F32", scales.reshape(shape))},
            numbers * spread.astype(np.float64),
        )

    return pack


def gptq(
    bits: int,
    group_size: int,
    *,
    symmetric: bool,
    form: str = "gptq",
    g_idx: bool = True,
    ordered: bool = True,
    fits: bool = False,
) -> Pack:
    """AutoGPTQ: `qweight` (inputs x bits / 32, outputs), zeros one less than they mean (not in the form gptq_v2).

    Columns of a group may lie apart (not `ordered`, as with `desc_act`). Scales and zeros are random, unless the
    numbers shall be met as well as can be (`fits`).
    """

    def pack(values: Numbers, generator: np.random.Generator) -> Packed:
        outputs, inputs = values.shape
        size = inputs if group_size == -1 else group_size
        groups = inputs // size
        largest = 2**bits - 1
        scales = generator.uniform(0.01, 0.03, (groups, outputs)).astype(np.float16)
        middle = 2 ** (bits - 1)
        zeros = np.full((groups, outputs), middle) if symmetric else generator.integers(1, largest + 1, scales.shape)
        if fits:
            parted = values.reshape(outputs, groups, size)
            low, high = np.minimum(parted.min(-1), 0).T, np.maximum(parted.max(-1), 0).T
            scales = np.maximum((high - low) / largest, 1e-4).astype(np.float16)
            zeros = np.clip(np.round(-low / scales.astype(np.float32)), 1, largest).astype(np.int64)
        index = np.arange(inputs) // size
        if not ordered:
            index = generator.permutation(index)
        wide = scales.astype(np.float64)
        q = np.clip(np.round(values.T / wide[index]) + zeros[index], 0, largest).astype(np.int64)
        stored_zeros = zeros if form == "gptq_v2" else zeros - 1
        stored: Stored = {
            "qweight": ("I32", _words(q.T, bits).T),
            "qzeros": ("I32", _words(stored_zeros, bits)),
            "scales": ("F16", scales),
        }
        if g_idx:
            stored["g_idx"] = ("I32", index.astype(np.int32))
        return Packed(stored, ((q - zeros[index]) * wide[index]).T)

    return pack


def awq(group_size: int) -> Pack:
    """AutoAWQ, `gemm`: eight outputs a word, of which the lowest four bits are the first, the next the third, ..."""
    places = [0, 2, 4, 6, 1, 3, 5, 7]

    def words(numbers: Numbers) -> Numbers:
        grouped = numbers.reshape(numbers.shape[0], -1, 8)[:, :, places]
        return _words(grouped.reshape(numbers.shape), 4)

    def pack(values: Numbers, generator: np.random.Generator) -> Packed:
        outputs, inputs = values.shape
        scales = generator.uniform(0.01, 0.03, (inputs // group_size, outputs)).astype(np.float16)
        zeros = generator.integers(0, 16, scales.shape)
        index = np.arange(inputs) // group_size
        wide = scales.astype(np.float64)
        q = np.clip(np.round(values.T / wide[index]) + zeros[index], 0, 15).astype(np.int64)
        stored: Stored = {"qweight": ("I32", words(q)), "qzeros": ("I32", words(zeros)), "scales": ("F16", scales)}
        return Packed(stored, ((q - zeros[index]) * wide[index]).T)

    return pack


def pack_quantized(bits: int, group_size: int, *, symmetric: bool) -> Pack:
    """compressed-tensors: packed along the inputs, with half of the range added; zeros packed along the outputs."""

    def pack(values: Numbers, generator: np.random.Generator) -> Packed:
        rows, columns = values.shape
        size = columns if group_size == -1 else group_size
        scales = mx.array(generator.uniform(0.01, 0.03, (rows, columns // size))).astype(mx.bfloat16)
        wide = np.array(scales.astype(mx.float32)).astype(np.float64)
        half = 2 ** (bits - 1)
        zeros = np.zeros(wide.shape, int) if symmetric else generator.integers(-half, half, wide.shape)
        index = np.arange(columns) // size
        q = np.clip(np.round(values / wide[:, index]) + zeros[:, index], -half, half - 1).astype(np.int64)
        stored: Stored = {
            "weight_packed": ("I32", _words(q + half, bits)),
            "weight_scale": ("BF16", scales),
            "weight_shape": ("I64", np.array([rows, columns])),
        }
        if not symmetric:
            stored["weight_zero_point"] = ("I32", np.ascontiguousarray(_words((zeros + half).T, bits).T))
        return Packed(stored, (q - zeros[:, index]) * wide[:, index])

    return pack


def int8_rows() -> Pack:
    """compressed-tensors' `int-quantized`: bytes under a scale for each row."""

    def pack(values: Numbers, generator: np.random.Generator) -> Packed:
        scales = generator.uniform(0.001, 0.003, (values.shape[0], 1)).astype(np.float32)
        q = np.clip(np.round(values / scales), -128, 127).astype(np.int8)
        return Packed({"weight": ("I8", q), "weight_scale": ("F32", scales)}, q * scales.astype(np.float64))

    return pack


def nvfp4(whole: float, form: str, largest: float = 0.03) -> Pack:
    """E2M1, two a byte, under a scale of E4M3 for each 16 and one for the whole tensor."""

    def pack(values: Numbers, generator: np.random.Generator) -> Packed:
        rows, columns = values.shape
        factor = 1 / whole if form == "compressed-tensors" else whole
        codes, scales = as_e4m3(generator.uniform(largest / 4, largest, (rows, columns // 16)) / factor)
        picked = generator.integers(0, 16, (rows, columns))
        packed = (picked[:, ::2] | picked[:, 1::2] << 4).astype(np.uint8)
        means = E2M1[picked] * np.repeat(scales, 16, 1) * factor
        single = np.array([whole], np.float32)
        if form == "compressed-tensors":
            names = {"weight_packed": packed, "weight_scale": codes, "weight_global_scale": single}
        else:
            names = {"weight": packed, "weight_scale": codes, "weight_scale_2": single.reshape(())}
            names["input_scale"] = single.reshape(())
        dtypes = {"weight": "U8", "weight_packed": "U8", "weight_scale": "F8_E4M3"}
        return Packed({name: (dtypes.get(name, "F32"), each) for name, each in names.items()}, means)

    return pack


def nvfp4_of_normal(deviation: float) -> Pack:
    """Weights that are distributed normally, quantized as ModelOpt does: scales are of the largest number of a group,
    and that of the whole tensor makes the largest of them 448.

    Source: `modelopt.torch.quantization.qtensor.nvfp4_tensor.NVFP4QTensor.quantize`.
    """

    def pack(values: Numbers, generator: np.random.Generator) -> Packed:
        rows, columns = values.shape
        groups = generator.normal(0, deviation, (rows, columns // 16, 16))
        whole = np.float32(np.abs(groups).max() / (6 * 448))
        codes, scales = as_e4m3(np.abs(groups).max(axis=-1) / 6 / whole)
        ratios = groups / (scales * whole)[..., None]
        picked = np.abs(np.abs(ratios)[..., None] - E2M1[:8]).argmin(axis=-1) | np.signbit(groups) << 3
        picked = picked.reshape(rows, columns)
        packed = (picked[:, ::2] | picked[:, 1::2] << 4).astype(np.uint8)
        means = E2M1[picked] * np.repeat(scales, 16, 1) * whole
        stored: Stored = {
            "weight": ("U8", packed),
            "weight_scale": ("F8_E4M3", codes),
            "weight_scale_2": ("F32", whole),
        }
        return Packed(stored, means)

    return pack


def mxfp4() -> Pack:
    """compressed-tensors' `mxfp4-pack-quantized`: E2M1 under a power of two for each 32."""

    def pack(values: Numbers, generator: np.random.Generator) -> Packed:
        rows, columns = values.shape
        exponents = generator.integers(118, 124, (rows, columns // 32)).astype(np.uint8)
        picked = generator.integers(0, 16, (rows, columns))
        packed = (picked[:, ::2] | picked[:, 1::2] << 4).astype(np.uint8)
        means = E2M1[picked] * np.repeat(2.0 ** (exponents.astype(int) - 127), 32, 1)
        return Packed({"weight_packed": ("U8", packed), "weight_scale": ("U8", exponents)}, means)

    return pack


def mxfp8(height: int, width: int) -> Pack:
    """E4M3 under exponents alone (E8M0) for blocks."""

    def pack(values: Numbers, generator: np.random.Generator) -> Packed:
        rows, columns = values.shape
        exponents = generator.integers(115, 119, (-(-rows // height), -(-columns // width))).astype(np.uint8)
        spread = np.repeat(np.repeat(2.0 ** (exponents.astype(int) - 127), height, 0)[:rows], width, 1)[:, :columns]
        codes, numbers = as_e4m3(values / spread)
        stored: Stored = {"weight": ("F8_E4M3", codes), "weight_scale_inv": ("F8_E8M0", exponents)}
        return Packed(stored, numbers * spread)

    return pack


def _words(numbers: Numbers, bits: int) -> Numbers:
    """Packed along the last axis, bit by bit from the lowest, into 32-bit words."""
    stream = (numbers[..., None] >> np.arange(bits) & 1).astype(np.uint8).reshape(numbers.shape[0], -1)
    return np.packbits(stream, axis=1, bitorder="little").view(np.int32)
