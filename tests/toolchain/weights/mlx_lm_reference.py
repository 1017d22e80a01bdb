"""What mlx-lm itself makes of a model folder, and comparison with it to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten, tree_map_with_path

from mlxbuild.runtime.mlx_lm.package import submodule
from mlxbuild.toolchain.spec.resolved import QuantizationScheme
from mlxbuild.toolchain.weights.safetensors import read_file_header


def reference(
    folder: Path, scheme: QuantizationScheme | None, dtype: str | None = None, predicate: Any = None
) -> tuple[dict[str, mx.array], dict[str, Any]]:
    """The parameters and the configuration that mlx-lm's own functions give, as `mlx_lm.convert` calls them."""
    utils = submodule("utils")
    model, config = utils.load_model(folder, lazy=True)
    if dtype is not None:
        may_cast = getattr(model, "cast_predicate", lambda _: True)

        def cast(name: str, array: mx.array) -> mx.array:
            is_cast = may_cast(name) and mx.issubdtype(array.dtype, mx.floating)
            return array.astype(getattr(mx, dtype)) if is_cast else array

        model.update(tree_map_with_path(cast, model.parameters()))
    if scheme is not None:
        if isinstance(predicate, str):
            predicate = submodule("convert").mixed_quant_predicate_builder(predicate, model, scheme.group_size)
        model, config = utils.quantize_model(
            model, config, scheme.group_size, scheme.bits, mode=scheme.mode, quant_predicate=predicate
        )
    return dict(tree_flatten(model.parameters())), config


def assert_same(built: Path, expected: dict[str, mx.array]) -> None:
    files = sorted(built.glob("model*.safetensors"))
    arrays: dict[str, mx.array] = {}
    for file in files:
        arrays |= mx.load(str(file))
    assert arrays.keys() == expected.keys()
    for name, array in expected.items():
        assert arrays[name].dtype == array.dtype, name
        assert arrays[name].shape == array.shape, name
        assert bytes(memoryview(mx.contiguous(arrays[name]).reshape(-1).view(mx.uint8))) == bytes(
            memoryview(mx.contiguous(array).reshape(-1).view(mx.uint8))
        ), name
    assert all(read_file_header(file) for file in files)


def assert_loads(built: Path) -> None:
    """mlx-lm loads the folder strictly, with the tensors' own precision, and computes finite logits."""
    model, _ = submodule("utils").load_model(built)
    model.set_dtype(mx.float32)  # MLX cannot compute experts in bfloat16 on a CPU
    logits = model(mx.array([[1, 5, 9]]))
    assert bool(mx.all(mx.isfinite(logits)))
