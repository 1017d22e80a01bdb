"""Computes the parameters that an architecture does more than rename: stacked experts, transposes, splits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import mlx.core as mx

from mlxbuild.toolchain.weights.decoded import Accuracy, DecodedTensor, ModelTensor, worst
from mlxbuild.toolchain.weights.model import make_model, sanitized
from mlxbuild.toolchain.weights.origin import SourceTensors
from mlxbuild.toolchain.weights.placeholders import Placeholders
from mlxbuild.toolchain.weights.reading import SourceTensor
from mlxbuild.toolchain.weights.structure import TableRow

_FOREIGN = "foreign"


class ComputedParameters:
    """The computed parameters of one block, lazy until taken. Use it only in the thread that created it."""

    def __init__(
        self,
        config: Mapping[str, Any],
        table: Sequence[TableRow],
        tensors: Mapping[str, ModelTensor],
        sources: SourceTensors,
        names: Sequence[str],
    ) -> None:
        """Let the architecture arrange the block's tensors, without reading them.

        Args:
            config: The model's configuration.
            table: All tensors of the checkpoint; those of other blocks become placeholders.
            tensors: The block's tensors by name.
            sources: Reads and decodes them.
            names: The parameters wanted.
        """
        self._config = config
        self._table = table
        self._sources = sources
        self._stored = {name: tensor for name, tensor in tensors.items() if isinstance(tensor, SourceTensor)}
        self._decoded = {name: tensor for name, tensor in tensors.items() if isinstance(tensor, DecodedTensor)}
        self._accuracy: dict[str, Accuracy] = {}
        stand_ins = Placeholders()
        results = self._arranged(stand_ins, {})
        self._waiting: dict[str, mx.array] = {name: results[name] for name in names}
        self._needs = {name: stand_ins.groups_of(results[name]) & self._decoded.keys() for name in names}

    def take(self, name: str) -> mx.array:
        """Evaluate one parameter and release it, with everything it was computed from that no other parameter needs."""
        array = self._waiting.pop(name)
        if needed := sorted(self._needs[name]):
            # MLX arrays cannot be lazy over our decoders, so the tensors are decoded first, for this parameter alone.
            decoded = {each: self._sources.whole(self._decoded[each]) for each in needed}
            array = self._arranged(Placeholders(), decoded)[name]
            told = [accuracy for each in needed if (accuracy := self._sources.accuracy(each)) is not None]
            if told:
                self._accuracy[name] = worst(told)
        mx.eval(array)
        return array

    @property
    def decoded(self) -> frozenset[str]:
        """The decoded tensors that the parameters are computed from."""
        return frozenset().union(*self._needs.values())

    def accuracy(self, name: str) -> Accuracy | None:
        """The accuracy of a parameter that was taken; None if nothing in it was decoded."""
        return self._accuracy.get(name)

    def _arranged(self, stand_ins: Placeholders, decoded: Mapping[str, mx.array]) -> dict[str, mx.array]:
        """All tensors as the architecture arranges them: stored ones, those in `decoded`, placeholders for the rest."""
        arrays = {**dict(self._lazily_loaded()), **decoded}
        for name, dtype, shape in self._table:
            if name not in arrays:
                group = name if name in self._decoded else _FOREIGN
                arrays[name] = stand_ins.make(group, name, dtype, shape)
        # In table order, because an architecture may depend on the first tensor it sees.
        ordered = {name: arrays[name] for name, _, _ in self._table}
        return sanitized(make_model(self._config), ordered)

    def _lazily_loaded(self) -> Iterator[tuple[str, mx.array]]:
        for digest in sorted({tensor.file for tensor in self._stored.values()}):
            loaded: Any = mx.load(str(self._sources.path(digest)), format="safetensors", stream=mx.cpu)
            for name, tensor in self._stored.items():
                if tensor.file == digest:
                    yield name, loaded[name]
