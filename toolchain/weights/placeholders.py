"""Placeholder arrays with the dtype and shape of tensors but no data, whose use in lazy graphs can be traced."""

from __future__ import annotations

import io
import math
import re
from typing import Any

import mlx.core as mx

from mlxbuild.toolchain.weights.dtypes import MLX_DTYPES
from mlxbuild.toolchain.weights.model import UnusableModel


class Placeholders:
    """Placeholders in groups; `groups_of` tells which groups a lazy array is computed from.

    Every placeholder is a broadcast of its group's scalar of that dtype, and the graph names the scalars. Floating
    scalars are NaN, so code that evaluates a placeholder, which loses the trace, gives NaN.
    """

    def __init__(self) -> None:
        self._scalars: dict[tuple[str, Any], mx.array] = {}

    def make(self, group: str, name: str, dtype_name: str, shape: tuple[int, ...]) -> mx.array:
        """A placeholder for a tensor with a safetensors dtype.

        Raises:
            UnusableModel: MLX cannot read that dtype.
        """
        dtype = MLX_DTYPES.get(dtype_name)
        if dtype is None:
            raise UnusableModel(f"tensor `{name}` has dtype {dtype_name}, which MLX cannot read")
        scalar = self._scalars.get((group, dtype))
        if scalar is None:
            value = math.nan if mx.issubdtype(dtype, mx.floating) else 0
            scalar = self._scalars[group, dtype] = mx.full((), value, dtype=dtype)
        return mx.broadcast_to(scalar, shape) if shape else mx.broadcast_to(scalar, (1,)).squeeze()

    def groups_of(self, array: mx.array) -> frozenset[str]:
        """The groups that a lazy array is computed from."""
        groups = [group for group, _ in self._scalars]
        graph = io.StringIO()
        # Names that MLX generates are upper-case letters.
        mx.export_to_dot(graph, array, **{f"scalar{i}": scalar for i, scalar in enumerate(self._scalars.values())})
        # All named arrays are drawn; those that something is computed from have an edge.
        return frozenset(groups[int(i)] for i in re.findall(r'"scalar(\d+)" ->', graph.getvalue()))
