"""Drafts a first recipe for a GGUF model from the metadata in its header."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import PurePosixPath
from typing import Any

from mlxbuild.toolchain.sources.gguf.parts import GgufFiles
from mlxbuild.toolchain.spec.initial import GgufWeights, initial_recipe, slug
from mlxbuild.toolchain.spec.resolved import FolderSource, HubSource
from mlxbuild.toolchain.weights.formats.gguf_layout import FORMS, PLAIN

_ENDING = re.compile(r"(-\d{5}-of-\d{5})?\.gguf$")
_PRECISION = re.compile(
    r"[-_.](UD[-_])?(I?Q[1-8](_[A-Z0-9]+)*|TQ[12]_0|B?F16|F32|MXFP4(_MOE)?|NVFP4)$", re.IGNORECASE | re.ASCII
)
_REPOSITORY = re.compile(r"https://huggingface\.co/([\w.-]+/[\w.-]+)/?", re.ASCII)
_LONGEST_DESCRIPTION = 200


def recipe_from_gguf(base: FolderSource | HubSource, files: GgufFiles, *, name: str | None = None) -> str:
    """A recipe that builds the model with the quantization of its file.

    Args:
        base: The source of the file.
        files: The headers that were read; they are untrusted, and what is not valid in a recipe is left out.
        name: Name of the recipe; by default the file name without its quantization.
    """
    documents = files.model.documents
    metadata = files.parts[0].header.metadata
    template = "chat_template.jinja" in documents
    return initial_recipe(
        base,
        json.loads(documents["config.json"]),
        tokenizer_config={"chat_template": "in the file"} if template else {},
        generation_config=json.loads(documents["generation_config.json"]),
        license_expression=_line(metadata.get("general.license")),
        description=_line(metadata.get("general.description")),
        name=name or name_of(base.gguf or ""),
        gguf=_weights(files, _repository(metadata)),
    )


def name_of(path: str) -> str:
    """A recipe name from the path of a GGUF file: `Qwen3-0.6B-Q4_K_M.gguf` becomes `qwen3-0.6b`."""
    return slug(_PRECISION.sub("", _ENDING.sub("", PurePosixPath(path).name)))


def _weights(files: GgufFiles, repository: str | None) -> GgufWeights:
    """The types of the matrices; vectors are float32 in every file."""
    tensors = [tensor for part in files.parts for tensor in part.header.tensors if len(tensor.shape) > 1]
    types = Counter(tensor.type for tensor in tensors)
    rounded = sorted(kind for kind in types if kind not in FORMS and kind not in PLAIN)
    return GgufWeights(tuple(types.most_common()), tuple(rounded), repository)


def _repository(metadata: Any) -> str | None:
    """The repository on the Hub that the file was converted from, which newer files record."""
    for key in ("general.source.huggingface.repository", "general.source.repo_url", "general.base_model.0.repo_url"):
        value = metadata.get(key)
        match = _REPOSITORY.fullmatch(value) if isinstance(value, str) else None
        if match is not None:
            return match[1]
    return None


def _line(value: Any) -> str | None:
    """A short string of one line, or None."""
    text = value.strip() if isinstance(value, str) else ""
    return text if text.isprintable() and 0 < len(text) <= _LONGEST_DESCRIPTION else None
