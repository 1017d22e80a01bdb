"""The supported model families, by the architecture in a GGUF file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from mlxbuild.toolchain.sources.gguf.families.experts import expert_count
from mlxbuild.toolchain.sources.gguf.families.family import Family, GgufModel
from mlxbuild.toolchain.sources.gguf.families.gemma import GEMMA2, GEMMA3
from mlxbuild.toolchain.sources.gguf.families.llama import LLAMA, MIXTRAL
from mlxbuild.toolchain.sources.gguf.families.other_numbers import check_other_numbers
from mlxbuild.toolchain.sources.gguf.families.phi3 import PHI3
from mlxbuild.toolchain.sources.gguf.families.qwen import QWEN2, QWEN2_MOE, QWEN3, QWEN3_MOE
from mlxbuild.toolchain.sources.gguf.header import GgufHeader, UnsupportedGguf
from mlxbuild.toolchain.sources.gguf.metadata import Metadata

FAMILIES: Final[Mapping[str, Family]] = {
    "llama": LLAMA,
    "qwen2": QWEN2,
    "qwen2moe": QWEN2_MOE,
    "qwen3": QWEN3,
    "qwen3moe": QWEN3_MOE,
    "gemma2": GEMMA2,
    "gemma3": GEMMA3,
    "phi3": PHI3,
}
"""Value of `general.architecture` to family."""


def model_of(
    header: GgufHeader, where: str | None = None, factors: Mapping[str, Sequence[float]] | None = None
) -> tuple[Family, GgufModel]:
    """The family of a file, and the view of the file that it gets.

    Args:
        header: Header of the file.
        where: Name of the file, for errors.
        factors: Values of the tensors that `factor_tensors` names.

    Raises:
        UnsupportedGguf: it belongs to no supported family, or is not a language model.
        GgufMetadata: the metadata does not name an architecture.
    """
    metadata = Metadata(header.metadata, where)
    kind = metadata.text("general.type", "model")
    if kind != "model":
        message = _OTHER_KINDS.get(kind, f"the file holds `{kind[:60]}`, not a model")
        raise UnsupportedGguf(message, where=where, hint=_ADAPTER_HINT if kind == "adapter" else _HINT)
    name = metadata.architecture
    if name == "clip":
        raise UnsupportedGguf(_OTHER_KINDS["mmproj"], where=where, hint=_HINT)
    family = FAMILIES.get(name)
    if family is None:
        raise UnsupportedGguf(
            f"GGUF files of the architecture `{name[:60]}` are not taken",
            where=where,
            hint=f"those of {', '.join(sorted(FAMILIES))} are; of others use the checkpoint in safetensors",
        )
    shapes = {tensor.name: tensor.shape for tensor in header.tensors}
    model = GgufModel(metadata, shapes, factors or {})
    check_other_numbers(metadata, family.numbers)
    return (MIXTRAL if family is LLAMA and expert_count(model) else family), model


_HINT = "name the file with the language model"
_ADAPTER_HINT = (
    "adapters are taken as PEFT or mlx-lm write them, in safetensors: name that folder below `adapters`, and the model "
    "that it was made for as `base`"
)
_OTHER_KINDS = {
    "mmproj": "the file holds a multimodal projector (mmproj), not the language model",
    "adapter": "the file holds an adapter (LoRA), not a model",
}
