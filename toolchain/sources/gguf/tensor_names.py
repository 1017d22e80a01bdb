"""Maps each tensor of a GGUF file to its name in the model and the changes that llama.cpp made to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mlxbuild.registry.core.errors import UserError
from mlxbuild.toolchain.sources.gguf.derived import Placement
from mlxbuild.toolchain.sources.gguf.families.family import Family, GgufModel
from mlxbuild.toolchain.sources.gguf.header import GgufHeader
from mlxbuild.toolchain.sources.gguf.rope_factors import LLAMA_FACTORS, LONG_FACTORS, SHORT_FACTORS

_TOLD = 5
_FACTOR_TENSORS: Final = (LLAMA_FACTORS, LONG_FACTORS, SHORT_FACTORS)


class GgufTensors(UserError):
    """A GGUF file lacks tensors of its architecture, or has unknown ones."""

    code = "gguf-tensors"


def placements(family: Family, model: GgufModel) -> Mapping[str, Placement]:
    """The placement of every weight of a file, in file order.

    Raises:
        GgufMetadata: the metadata lacks something that the names depend on.
        GgufTensors: a tensor is missing, unknown, or has an impossible shape.
    """
    where = model.metadata.where
    expected = family.tensors(model)
    architecture = model.metadata.architecture
    missing = [name for name in expected if name not in model.shapes]
    if missing:
        raise GgufTensors(
            f"the file lacks {_listed(missing)}, which models of the architecture `{architecture}` have",
            where=where,
            hint="is it one part of a split model? Then name the first part, and keep all parts beside it",
        )
    unknown = [name for name in model.shapes if name not in expected]
    if unknown:
        raise GgufTensors(
            f"the file has {_listed(unknown)}, which models of the architecture `{architecture}` do not have",
            where=where,
            hint="leaving tensors out would change the answers; convert the model again with a current llama.cpp",
        )
    places = {name: place for name in model.shapes if (place := expected[name]) is not None}
    for name, place in places.items():
        _check_heads(model, name, place)
    return places


def factor_tensors(header: GgufHeader) -> tuple[str, ...]:
    """The tensors of a file whose values go into config.json: a few hundred bytes of float32 each."""
    names = {tensor.name for tensor in header.tensors}
    return tuple(name for name in _FACTOR_TENSORS if name in names)


def _check_heads(model: GgufModel, name: str, place: Placement) -> None:
    rows = model.shapes[name][0]
    if place.permuted_heads is not None and rows % (2 * place.permuted_heads):
        raise GgufTensors(
            f"the tensor `{name}` has {rows} rows, which {place.permuted_heads} heads cannot share",
            where=model.metadata.where,
            hint="get the file again from its publisher",
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    return ", ".join(f"`{name[:80]}`" for name in names[:_TOLD]) + more
