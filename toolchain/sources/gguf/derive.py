"""Derives the documents of a model folder, other than weights, from the header of a GGUF file."""

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
    """The documents and the tensor placements of a GGUF file; the same bytes on every machine.

    Args:
        header: Header of the file; for a split model, one with the tensors of all its files.
        where: Name of the file, for errors.
        tokenizer: Whether to convert the tokenizer; if not, another source provides one.
        factors: Values of the tensors that `factor_tensors` names.

    Raises:
        UnsupportedGguf: the architecture, the tokenizer or the RoPE scaling is not supported.
        GgufMetadata: the metadata lacks a key or contradicts itself.
        GgufTensors: tensors are missing, or do not belong to the architecture.
    """
    family, model = model_of(header, where, factors)
    places = placements(family, model)
    # A file without a vocabulary can be built with a tokenizer from another source.
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
    """The chat template (Jinja, as in tokenizer_config.json); if there are several, the default one."""
    return metadata.text(TEMPLATE) or None if metadata.has(TEMPLATE) else None


def _text(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(content, sort_keys=True, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode()
