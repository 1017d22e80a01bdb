"""Classifies the tensors of an `adapter_model.safetensors`: pairs of low-rank matrices, and full parameters.

The names are those that `peft.utils.save_and_load.get_peft_model_state_dict` writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from mlxbuild.toolchain.weights.peft.configuration import MERGE_HINT, SAVE_HINT, PeftConfiguration, UnsupportedAdapter

_PREFIX: Final = "base_model.model."
_HALVES: Final = {
    "lora_A.weight": ("lora_B.weight", False),
    "lora_B.weight": ("lora_A.weight", False),
    "lora_embedding_A": ("lora_embedding_B", True),
    "lora_embedding_B": ("lora_embedding_A", True),
}
"""Suffix of one matrix's name, to the suffix of the other and whether the module is an embedding."""
_LONGEST_PATH: Final = 256
_FLOATS: Final = frozenset({"F32", "F16", "BF16"})


class TableTensor(Protocol):
    """A row of a tensor table."""

    @property
    def name(self) -> str:
        """Name in the file."""

    @property
    def dtype(self) -> str:
        """Dtype in the safetensors header."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in the safetensors header."""


Row = TypeVar("Row", bound=TableTensor)


@dataclass(frozen=True, slots=True)
class LowRankPair(Generic[Row]):
    """The update of one module: of shape (out, in) for a layer, (dimensions, tokens) for an embedding."""

    module: str
    """Its path in the base model."""
    a: Row
    """The matrix A, of shape (rank, in)."""
    b: Row
    """The matrix B, of shape (out, rank)."""
    is_embedding: bool


@dataclass(frozen=True, slots=True)
class AdapterParts(Generic[Row]):
    """All tensors of an adapter."""

    pairs: tuple[LowRankPair[Row], ...]
    whole: tuple[tuple[str, Row], ...]
    """Parameters of the base that the adapter stores in full, by their names in the base model."""


def parts_of(configuration: PeftConfiguration, tensors: Iterable[Row], where: str) -> AdapterParts[Row]:
    """Classify an adapter's tensors, sorted by name.

    Raises:
        UnsupportedAdapter: a tensor is of no known kind, lacks its counterpart, or does not have the shape or rank in
            the configuration.
    """
    by_name = {tensor.name: tensor for tensor in sorted(tensors, key=lambda tensor: tensor.name)}
    pairs: list[LowRankPair[Row]] = []
    whole: list[tuple[str, Row]] = []
    for name, tensor in by_name.items():
        _check_floating(tensor, where)
        if not name.startswith(_PREFIX):
            raise UnsupportedAdapter(
                f"adapter tensor `{name:.200}` is not named as PEFT names them", where=where, hint=SAVE_HINT
            )
        path, end = _split(name.removeprefix(_PREFIX))
        if len(path) > _LONGEST_PATH:
            raise UnsupportedAdapter(
                f"adapter tensor `{name:.200}...` has too long a name", where=where, hint=SAVE_HINT
            )
        if end is None:
            whole.append((_whole_parameter(configuration, path, name, where), tensor))
        elif (other := by_name.get(f"{_PREFIX}{path}.{_HALVES[end][0]}")) is None:
            raise UnsupportedAdapter(
                f"adapter tensor `{name:.200}` has no `{_HALVES[end][0]}` beside it",
                where=where,
                hint=SAVE_HINT,
            )
        elif "A" in end:
            pairs.append(LowRankPair(path, tensor, other, _HALVES[end][1]))
    if not pairs and not whole:
        raise UnsupportedAdapter("the adapter holds no tensors", where=where, hint=SAVE_HINT)
    _check_ranks(configuration, pairs, where)
    return AdapterParts(tuple(pairs), tuple(whole))


def _split(name: str) -> tuple[str, str | None]:
    for end in _HALVES:
        if name.endswith(f".{end}"):
            return name.removesuffix(f".{end}"), end
    return name, None


def _whole_parameter(configuration: PeftConfiguration, path: str, name: str, where: str) -> str:
    """The name in the base model of a parameter that is stored in full."""
    parameter = path.replace(".base_layer.", ".")
    module, _, leaf = parameter.rpartition(".")
    if leaf not in ("weight", "bias") or "lora_" in path or not configuration.saves(module):
        raise UnsupportedAdapter(
            f"adapter tensor `{name:.200}` is neither half of a LoRA pair nor of a module in `modules_to_save`",
            where=where,
            hint=MERGE_HINT,
        )
    return parameter


def _check_floating(tensor: TableTensor, where: str) -> None:
    if tensor.dtype not in _FLOATS:
        raise UnsupportedAdapter(
            f"adapter tensor `{tensor.name:.200}` holds {tensor.dtype}, not F32, F16 or BF16",
            where=where,
            hint="save the adapter again with weights as floats",
        )


def _check_ranks(configuration: PeftConfiguration, pairs: Sequence[LowRankPair[Row]], where: str) -> None:
    for pair in pairs:
        a, b, rank = pair.a.shape, pair.b.shape, configuration.rank_of(pair.module)
        if len(a) != 2 or len(b) != 2:
            raise UnsupportedAdapter(
                f"the LoRA pair of `{pair.module:.200}` has shapes {list(a)} and {list(b)}: of a convolution?",
                where=where,
                hint=MERGE_HINT,
            )
        if a[0] != b[1] or a[0] != rank:
            raise UnsupportedAdapter(
                f"the LoRA pair of `{pair.module:.200}` has shapes {list(a)} and {list(b)}, "
                f"but adapter_config.json says rank {rank}",
                where=where,
                hint="do adapter_config.json and adapter_model.safetensors belong together?",
            )
