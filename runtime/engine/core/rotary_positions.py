"""Computes the rotary angles (https://arxiv.org/abs/2104.09864) of a token once for all layers of a compiled pass.

By default each layer computes them for its queries and again for its keys, which is a sixth of all operations of a
small model. Passes are compiled in `step`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import mlx.core as mx


def share_rotations(model: Any) -> None:
    """Let layers of a model of mlx-lm with the same rotation share the angles of a token whose position is an array.

    The model computes the same as before; rotations other than MLX's own layer are left as they are.
    """
    from mlx.nn.layers.positional_encoding import RoPE

    alike: dict[tuple[int, float, float], _Angles] = {}
    for parent in model.modules():
        for name, child in list(parent.items()):
            if type(child) is RoPE and not child.traditional:
                kind = (child.dims, child.base, child.scale)
                parent[name] = _Rotation(child, alike.setdefault(kind, _Angles(*kind)))


class _Rotation:
    """Replaces a rotary layer."""

    def __init__(self, layer: Any, angles: _Angles) -> None:
        self._layer, self._angles = layer, angles

    def __call__(self, x: mx.array, offset: int | mx.array = 0) -> mx.array:
        if isinstance(offset, int) or offset.ndim or x.shape[-2] != 1:
            rotated: mx.array = self._layer(x, offset)
            return rotated
        return self._angles.rotated(x, offset)


class _Angles:
    """The angles of the last position that was asked for."""

    def __init__(self, dims: int, base: float, scale: float) -> None:
        import mlx.core as mx

        half = dims // 2
        self._dims, self._scale = dims, scale
        self._frequencies = mx.exp(mx.arange(0, -half, -1, dtype=mx.float32) * (math.log(base) / half))
        mx.eval(self._frequencies)
        self._position: mx.array | None = None
        self._cosines = self._sines = self._frequencies

    def rotated(self, x: mx.array, position: mx.array) -> mx.array:
        """Rotate `x` (shape [..., 1, D]) by a scalar position; elements after the rotated ones are unchanged."""
        import mlx.core as mx

        if position is not self._position:
            angles = position.astype(mx.float32) * self._scale * self._frequencies
            self._position, self._cosines, self._sines = position, mx.cos(angles), mx.sin(angles)
        cosines, sines = self._cosines.astype(x.dtype), self._sines.astype(x.dtype)
        half = self._dims // 2
        one, other, rest = x[..., :half], x[..., half : self._dims], x[..., self._dims :]
        turned = [one * cosines - other * sines, one * sines + other * cosines]
        return mx.concatenate([*turned, rest] if rest.shape[-1] else turned, axis=-1)
