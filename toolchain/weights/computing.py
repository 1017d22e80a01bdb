"""Computes the parameters of a block that an architecture does not just rename: stacked experts, transposes, splits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx

from toolchain.weights.model import make_model, sanitized
from toolchain.weights.placeholders import Placeholders
from toolchain.weights.reading import SourceTensor
from toolchain.weights.structure import TableRow

_FOREIGN = "foreign"


class ComputedParameters:
    """The computed parameters of one block, lazy until taken. Belongs to the thread that makes it."""

    def __init__(
        self,
        config: Mapping[str, Any],
        table: Sequence[TableRow],
        tensors: Mapping[str, SourceTensor],
        paths: Mapping[str, Path],
        names: Sequence[str],
    ) -> None:
        """Arrange the block's tensors, without reading them.

        Args:
            config: The model's configuration.
            table: All tensors of the checkpoint; those of other blocks become placeholders.
            tensors: The block's tensors by name.
            paths: Source file by hexadecimal digest.
            names: The parameters wanted.
        """
        stand_ins = Placeholders()
        arrays = {
            name: stand_ins.make(_FOREIGN, name, dtype, shape) for name, dtype, shape in table if name not in tensors
        }
        arrays.update(_lazily_loaded(tensors, paths))
        # In table order: an architecture may look at the first tensor that it meets.
        ordered = {name: arrays[name] for name, _, _ in table}
        del arrays
        results = sanitized(make_model(config), ordered)
        self._waiting: dict[str, mx.array] = {name: results[name] for name in names}

    def take(self, name: str) -> mx.array:
        """Evaluate one parameter and forget it: what it was computed from is freed, unless another needs it."""
        array = self._waiting.pop(name)
        mx.eval(array)
        return array


def _lazily_loaded(tensors: Mapping[str, SourceTensor], paths: Mapping[str, Path]) -> Iterator[tuple[str, mx.array]]:
    for digest in sorted({tensor.file.hex for tensor in tensors.values()}):
        loaded: Any = mx.load(str(paths[digest]), format="safetensors", stream=mx.cpu)
        for name, tensor in tensors.items():
            if tensor.file.hex == digest:
                yield name, loaded[name]
