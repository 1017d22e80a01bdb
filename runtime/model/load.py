"""Loads the weights of a model folder into memory, in the form that this machine computes fastest."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxbuild.registry.core.errors import UserError
from mlxbuild.runtime.mlx_lm.package import utils
from mlxbuild.runtime.model.architecture import model_classes
from mlxbuild.runtime.model.blas import matrix_library, prefer_openblas
from mlxbuild.runtime.model.memory import OutOfMemory, available_bytes, is_lack_of_memory, require_bytes
from mlxbuild.runtime.model.plausibility import require_plausible_folder
from mlxbuild.runtime.model.threads import leave_streams_in_order
from mlxbuild.runtime.protocol.loaded import WeightsInMemory


class WeightsUnreadable(UserError):
    """The weights of a model folder do not match its configuration, or cannot be read at all."""

    code = "weights-unreadable"


_FAILURES = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, AssertionError)
"""Exceptions of mlx-lm's code if a configuration or weights are not what it expects."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A model of mlx-lm with its weights, ready to be called."""

    model: Any
    config: Mapping[str, Any]
    holding: WeightsInMemory


def load_weights(
    folder: Path, *, memory_bytes: int | None = None, checkpoint: Callable[[], None] = lambda: None
) -> Weights:
    """Load `config.json` and `model*.safetensors` of a folder with mlx-lm's own `load_model`. No other code is run.

    On a CPU, multiplying quantized or 16-bit weights is many times slower than float32, as there is no blocked kernel
    for them. So they are converted to float32 there if they then take at most half of `memory_bytes` (default: what the
    machine has left). Otherwise weights without experts are dequantized to 16 bits on the same condition, or else kept
    as they are.

    Every array is evaluated, so the model may be called from any single thread. `checkpoint` is called between modules,
    and stops the load by raising one of the project's errors.

    Raises:
        UnsupportedArchitecture: mlx-lm has no code for it.
        ImplausibleConfiguration: its configuration describes more than the weights contain.
        WeightsUnreadable: weights are missing, damaged, or do not match the configuration.
        OutOfMemory: there is not enough memory for them, even as they are.
    """
    prefer_openblas()
    import mlx.core as mx

    leave_streams_in_order()
    require_bytes(weights_bytes(folder), "as stored, the weights take")
    try:
        require_plausible_folder(folder)
        model, config = utils().load_model(folder, lazy=True, get_model_classes=model_classes)
        room = (available_bytes() if memory_bytes is None else memory_bytes) // 2
        dequantized, reason = _take_form(model, room) if mx.default_device() == mx.cpu else (False, "as stored")
        for module in model.modules():
            checkpoint()
            mx.eval([value for value in module.values() if isinstance(value, mx.array)])
        mx.eval(model.parameters())
    except (*_FAILURES, RuntimeError, MemoryError) as error:
        if is_lack_of_memory(error):
            raise OutOfMemory(f"there is not enough memory for the weights: {error}", where=str(folder)) from None
        raise WeightsUnreadable(
            f"the weights cannot be loaded: {error}", where=str(folder), hint=_hint(error)
        ) from None
    return Weights(model, config, _holding(model, dequantized, reason))


def _hint(error: Exception) -> str:
    is_of_files = isinstance(error, OSError | RuntimeError | json.JSONDecodeError)
    if is_of_files:
        return "`mlxbuild verify` finds damaged files"
    return "mlx-lm's code does not accept them in this form; try weights built with another `quantization`"


def weights_bytes(folder: Path) -> int:
    """Size of the weights of a folder as they are stored."""
    return sum(file.stat().st_size for file in folder.glob("model*.safetensors"))


def _take_form(model: Any, room_bytes: int) -> tuple[bool, str]:
    """Convert a lazily loaded model to the fastest form for a CPU; returns whether it was dequantized, and why."""
    import mlx.core as mx

    mlx_lm_utils = utils()
    numbers = mlx_lm_utils.get_total_parameters(model)
    quantized = any(hasattr(module, "bits") and "scales" in module for module in model.modules())
    if numbers * 4 <= room_bytes:
        model.set_dtype(mx.float32)  # before dequantizing, so that scales multiply without rounding to 16 bits
        if quantized:
            mlx_lm_utils.dequantize_model(model)
            model.set_dtype(mx.float32)
        return quantized, "float32 is fastest on a CPU"
    has_experts = any(type(module).__name__ == "QuantizedSwitchLinear" for module in model.modules())
    if quantized and numbers * 2 <= room_bytes and not has_experts:  # on a CPU, MLX has no 16-bit expert products
        mlx_lm_utils.dequantize_model(model)
        return True, "float32 would take more than half of the free memory"
    return False, "expanded weights would take more than half of the free memory"


def _holding(model: Any, dequantized: bool, reason: str) -> WeightsInMemory:
    import mlx.core as mx
    from mlx.utils import tree_flatten

    leaves: Any = tree_flatten(model.parameters())
    arrays = [array for _, array in leaves]
    floats = [array for array in arrays if mx.issubdtype(array.dtype, mx.floating)]
    dtype = max((array.dtype for array in floats), key=lambda dtype: dtype.size, default=mx.float32)
    on_cpu = mx.default_device() == mx.cpu
    return WeightsInMemory(
        device="cpu" if on_cpu else "gpu",
        dtype=str(dtype).removeprefix("mlx.core."),
        dequantized=dequantized,
        size_bytes=sum(array.nbytes for array in arrays),
        reason=reason,
        blas=matrix_library() if on_cpu else None,
    )
