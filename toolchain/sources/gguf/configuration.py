"""Converts a GGUF file's metadata to config.json and generation_config.json."""

from __future__ import annotations

from typing import Any

from mlxbuild.toolchain.sources.gguf.families.family import Family, GgufModel
from mlxbuild.toolchain.sources.gguf.vocabulary import SpecialTokens


def configuration(family: Family, model: GgufModel, special: SpecialTokens) -> dict[str, Any]:
    """The content of config.json.

    Raises:
        GgufMetadata: a key is missing or its value is invalid.
        UnsupportedGguf: the metadata has a setting that config.json cannot express.
    """
    return {
        "model_type": family.model_type,
        "architectures": [family.class_name],
        **family.configuration(model),
        **generation_configuration(special),
    }


def generation_configuration(special: SpecialTokens) -> dict[str, Any]:
    """The content of generation_config.json: the tokens that begin and end texts."""
    ends = special.ends[0] if len(special.ends) == 1 else list(special.ends)
    named = {"bos_token_id": special.bos, "eos_token_id": ends or None, "pad_token_id": special.pad}
    return {name: value for name, value in named.items() if value is not None}
