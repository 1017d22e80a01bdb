"""Which families are taken, by what a GGUF file says of its architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from toolchain.sources.gguf.families.family import Family, GgufModel
from toolchain.sources.gguf.families.llama import LLAMA
from toolchain.sources.gguf.header import GgufHeader, UnsupportedGguf
from toolchain.sources.gguf.metadata import Metadata

FAMILIES: Final[Mapping[str, Family]] = {"llama": LLAMA}
"""By `general.architecture`."""


def model_of(
    header: GgufHeader, where: str | None = None, factors: Mapping[str, Sequence[float]] | None = None
) -> tuple[Family, GgufModel]:
    """The family of a file, and the file as the family looks at it.

    Args:
        header: The file's.
        where: The file's name, for errors.
        factors: Values of the tensors that `factor_tensors` names.

    Raises:
        UnsupportedGguf: it is of no family that is taken, or no language model.
        GgufMetadata: the metadata does not say what it is.
    """
    metadata = Metadata(header.metadata, where)
    kind = metadata.text("general.type", "model")
    if kind != "model":
        message = _OTHER_KINDS.get(kind, f"the file holds `{kind[:60]}`, not a model")
        raise UnsupportedGguf(message, where=where, hint=_HINT)
    name = metadata.architecture
    if name == "clip":
        raise UnsupportedGguf(_OTHER_KINDS["mmproj"], where=where, hint=_HINT)
    family = FAMILIES.get(name)
    if family is None:
        raise UnsupportedGguf(
            f"GGUF files of the architecture `{name[:60]}` are not taken",
            where=where,
            hint=f"those of {', '.join(sorted(FAMILIES))} are; of others take the checkpoint in safetensors",
        )
    shapes = {tensor.name: tensor.shape for tensor in header.tensors}
    return family, GgufModel(metadata, shapes, factors or {})


_HINT = "name the file with the language model"
_OTHER_KINDS = {
    "mmproj": "the file holds the part of a model that sees or hears (mmproj), not the language model",
    "adapter": "the file holds an adapter (LoRA), not a model",
}
