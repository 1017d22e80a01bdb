"""Checks the quantization that config.json declares for each module against the shapes of its tensors.

mlx-lm derives it from the shapes and not from config.json (`infer_quant_config`), so a folder with a wrong config.json
loads, but misleads everything that reads config.json alone: parameter counts, checks of scales, other programs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import mlx.core as mx

from mlxbuild.toolchain.spec.resolved import QuantizationScheme
from mlxbuild.toolchain.weights.dtypes import SAFETENSORS_NAMES
from mlxbuild.toolchain.weights.formats.entry import scheme_of, schemes_in
from mlxbuild.toolchain.weights.model import UnusableModel

_AFFINE: Final = "affine"
_OTHERS: Final = {"mxfp4": (4, 32), "mxfp8": (8, 32), "nvfp4": (4, 16)}
"""Bits and group size of the modes that support only one; their scales are bytes, and they have no biases."""


def check_declared(path: str, shape: tuple[int, ...], arrays: Mapping[str, mx.array], entry: Mapping[str, Any]) -> None:
    """Check that a module's packed numbers and scales have the shapes that config.json declares for its weight.

    Args:
        path: Path of the module.
        shape: Shape of its dequantized weight.
        arrays: All parameters; `.weight` and `.scales` of the module are among them.
        entry: `quantization` in config.json. A module without an entry may match any scheme in it, because an
            architecture may have renamed the module.

    Raises:
        UnusableModel: the shapes do not match.
    """
    packed, scales = arrays[f"{path}.weight"], arrays[f"{path}.scales"]
    weight, groups = tuple(packed.shape), tuple(scales.shape)
    fits = weight[:-1] == groups[:-1] == shape[:-1] and shape[-1] and groups[-1]
    if not fits or weight[-1] * 32 % shape[-1] or shape[-1] % groups[-1]:
        raise UnusableModel(
            f"`{path}` is quantized in shapes {list(weight)} and {list(groups)}, but config.json means {list(shape)}",
            hint="does config.json belong to these weights?",
        )
    actual = (weight[-1] * 32 // shape[-1], shape[-1] // groups[-1])
    biases = arrays.get(f"{path}.biases")
    declared = scheme_of(entry, path)
    known = [declared] if entry.get(path, True) is not True else schemes_in(entry)
    if not any(scheme is not None and _fits(scheme, actual, scales, biases) for scheme in known):
        kind = "without biases" if biases is None else "with biases"
        said = "nothing that MLX knows" if declared is None else _told(declared)
        raise UnusableModel(
            f"config.json says of `{path}` {said}, but its tensors are of {actual[0]} bits in groups of {actual[1]}, "
            f"{kind}, with scales of {SAFETENSORS_NAMES[scales.dtype]}",
            where="config.json",
            hint="use the config.json that was written beside these weights",
        )


def _fits(scheme: QuantizationScheme, actual: tuple[int, int], scales: mx.array, biases: mx.array | None) -> bool:
    if (scheme.bits, scheme.group_size) != actual:
        return False
    if scheme.mode == _AFFINE:
        return biases is not None and mx.issubdtype(scales.dtype, mx.floating)
    return biases is None and scales.dtype == mx.uint8 and _OTHERS.get(scheme.mode) == actual


def _told(scheme: QuantizationScheme) -> str:
    return f"{scheme.bits} bits in groups of {scheme.group_size} ({scheme.mode})"
