"""Metadata keys that change a model's answers but occur in few architectures; the families that support one name it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mlxbuild.toolchain.sources.gguf.header import UnsupportedGguf
from mlxbuild.toolchain.sources.gguf.metadata import Metadata

_WITHOUT_EFFECT: Final[Mapping[str, tuple[float, ...]]] = {
    "attention.clamp_kqv": (0.0,),
    "attention.max_alibi_bias": (0.0,),
    "attention.scale": (0.0,),
    "attention.temperature_scale": (0.0,),
    "attention.value_scale": (0.0, 1.0),
    "attn_logit_softcapping": (0.0,),
    "embedding_scale": (0.0, 1.0),
    "final_logit_softcapping": (0.0,),
    "logit_scale": (0.0, 1.0),
    "residual_scale": (0.0, 1.0),
    "router_logit_softcapping": (0.0,),
}


def check_other_numbers(metadata: Metadata, known: frozenset[str]) -> None:
    """Check that the metadata sets nothing that the architecture's code would ignore.

    Args:
        metadata: Metadata of the file.
        known: The keys that the family reads.

    Raises:
        UnsupportedGguf: such a key is set.
    """
    for name, values in _WITHOUT_EFFECT.items():
        key = metadata.own(name)
        if name not in known and metadata.has(key) and metadata.number(key) not in values:
            _refuse(metadata, f"`{key}` is {metadata.number(key)}")
    key = metadata.own("attention.causal")
    if not metadata.flag(key, True):
        _refuse(metadata, f"`{key}` is false")


def _refuse(metadata: Metadata, told: str) -> None:
    raise UnsupportedGguf(
        f"{told}, and mlx-lm's code of this architecture does not know of that",
        where=metadata.where,
        hint="use another model; leaving it out would change the answers",
    )
