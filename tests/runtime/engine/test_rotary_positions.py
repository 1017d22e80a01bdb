"""Shared rotations equal those of MLX's own layer, are computed once, and leave other layers unchanged."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest

from mlxbuild.runtime.engine.core.rotary_positions import share_rotations


class TwoLayers(nn.Module):
    """Two rotary layers, as in the attention layers of a model."""

    def __init__(self, *rotations: nn.RoPE) -> None:
        super().__init__()
        self.layers = [nn.Sequential() for _ in rotations]
        for layer, rotation in zip(self.layers, rotations, strict=True):
            layer.rope = rotation


def shared(*rotations: nn.RoPE) -> list[Any]:
    model = TwoLayers(*rotations)
    share_rotations(model)
    return [layer.rope for layer in model.layers]


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16, mx.float16])
@pytest.mark.parametrize("settings", [(32,), (16,), (32, False, 1e6), (32, False, 500.0, 0.25)])
@pytest.mark.parametrize("position", [0, 1, 2047, 30_001])
def test_a_token_is_rotated_as_by_the_layer(dtype: mx.Dtype, settings: tuple[Any, ...], position: int) -> None:
    layer = nn.RoPE(*settings)
    (mine,) = shared(layer)
    x = mx.random.normal((2, 3, 1, 32)).astype(dtype)
    rotated, expected = mine(x, offset=mx.array(position)), layer(x, offset=position)
    assert rotated.dtype == expected.dtype == dtype
    assert mx.allclose(rotated, expected, rtol=0, atol=1e-5 if dtype == mx.float32 else 0.02)


def test_layers_that_rotate_alike_compute_the_angles_once() -> None:
    first, second, other = shared(nn.RoPE(8), nn.RoPE(8), nn.RoPE(8, base=100.0))
    x, position = mx.ones((1, 2, 1, 8)), mx.array(5)
    assert written(first(x, position), second(x, position)).count("Cos") == 1
    assert written(first(x, position), other(x, position)).count("Cos") == 2
    assert written(first(x, position), second(x, mx.array(5))).count("Cos") == 2, "of another position's array"


def written(*arrays: mx.array) -> str:
    """The graph of arrays, one operation on each line."""
    import io

    out = io.StringIO()
    mx.export_to_dot(out, *arrays)
    return out.getvalue()


@pytest.mark.parametrize("offset", [7, mx.array([7]), mx.array([7, 9])])
def test_several_tokens_and_rows_are_rotated_by_the_layer(offset: Any) -> None:
    layer = nn.RoPE(8)
    (mine,) = shared(layer)
    x = mx.random.normal((2, 2, 3, 8))
    assert mx.array_equal(mine(x, offset=offset), layer(x, offset=offset))


def test_rotations_of_other_kinds_stay() -> None:
    class Own(nn.RoPE):
        pass

    rotations = [nn.RoPE(8, traditional=True), Own(8)]
    assert shared(*rotations) == rotations
