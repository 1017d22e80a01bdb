"""Derives everything that stands beside the weights of a GGUF file, from its header alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mlxbuild.toolchain.sources.gguf.configuration import configuration, generation_configuration
from mlxbuild.toolchain.sources.gguf.derived import DerivedModel
from mlxbuild.toolchain.sources.gguf.families.table import model_of
from mlxbuild.toolchain.sources.gguf.header import GgufHeader
from mlxbuild.toolchain.sources.gguf.metadata import Metadata
from mlxbuild.toolchain.sources.gguf.tensor_names import placements
from mlxbuild.toolchain.sources.gguf.tokenizer import tokenizer_documents
from mlxbuild.toolchain.sources.gguf.vocabulary import TOKENS, SpecialTokens, read_vocabulary

TEMPLATE: Final = "tokenizer.chat_template"


def derive(
    header: GgufHeader,
    where: str | None = None,
    *,
    tokenizer: bool = True,
    factors: Mapping[str, Sequence[float]] | None = None,
) -> DerivedModel:
    """The documents and the places of the tensors of a GGUF file; the same bytes on every machine.

    Args:
        header: The file's; of a split model, one with the tensors of all its files.
        where: The file's name, for errors.
        tokenizer: Whether the tokenizer is rebuilt; without it, one comes from elsewhere.
        factors: The values of the tensors that `factor_tensors` names.

    Raises:
        UnsupportedGguf: an architecture, a tokenizer or a scaling of positions that is not taken.
        GgufMetadata: the metadata lacks a key, or contradicts itself.
        GgufTensors: tensors are missing, or are others than the architecture has.
    """
    family, model = model_of(header, where, factors)
    places = placements(family, model)
    # A file without a vocabulary can be built with a tokenizer from elsewhere.
    vocabulary = read_vocabulary(model.metadata) if tokenizer or model.metadata.has(TOKENS) else None
    special = SpecialTokens() if vocabulary is None else vocabulary.special
    documents = {
        "config.json": _text(configuration(family, model, special)),
        "generation_config.json": _text(generation_configuration(special)),
    }
    template = _template(model.metadata)
    if template is not None:
        documents["chat_template.jinja"] = template.encode()
    if tokenizer and vocabulary is not None:
        documents |= tokenizer_documents(model.metadata, vocabulary)
    return DerivedModel(documents, places)


def _template(metadata: Metadata) -> str | None:
    """The chat template, Jinja as in tokenizer_config.json; of a file with several, the default one."""
    return metadata.text(TEMPLATE) or None if metadata.has(TEMPLATE) else None


def _text(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, sort_keys=True, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode()
