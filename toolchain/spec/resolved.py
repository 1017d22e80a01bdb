"""One variant of a recipe, fully resolved, as the rest of the toolchain uses it.

Everything here is plain, frozen and free of machine paths, except `recipe` and the folder paths of sources,
which never enter a key. Texts that the recipe names by file (templates, system prompts, golden prompts, evaluation
texts) are inlined, so that an artifact can store its whole recipe.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import Location
from mlxbuild.registry.core.reference import Reference
from mlxbuild.toolchain.spec.ollama_name import OllamaName

SCHEMA = "mlxbuild/v1"
"""The schema version of recipes and of their canonical documents."""

KEEP = "keep"
"""The label of weights that keep their source's quantization."""


@dataclass(frozen=True, slots=True)
class HubSource:
    """A Hugging Face repository at a revision as written (branch, tag or commit)."""

    repository: str
    revision: str
    include: tuple[str, ...] = ()
    """Globs of the files to use; empty means the default selection."""
    gguf: str | None = None
    """Path of the GGUF file with the model, or of its first part; None for safetensors."""


@dataclass(frozen=True, slots=True)
class FolderSource:
    """A local folder, read in place."""

    path: Path
    """Absolute path of the folder."""
    written: str
    """The path as written in the recipe, relative to the recipe."""
    gguf: str | None = None
    """Name of the GGUF file with the model, or of its first part; None for safetensors."""

    @property
    def as_written(self) -> str:
        """The path in the recipe: of the GGUF file if there is one, else of the folder."""
        return self.written if self.gguf is None else str(PurePosixPath(self.written, self.gguf))


@dataclass(frozen=True, slots=True)
class ContentSource:
    """A folder named by its content, as an artifact does for a folder outside of its recipe's."""

    content: Digest
    """Digest of the names and digests of its files."""
    gguf: str | None = None
    """As in `FolderSource`."""


@dataclass(frozen=True, slots=True)
class ArtifactSource:
    """Another artifact in the store."""

    reference: Reference


@dataclass(frozen=True, slots=True)
class OllamaSource:
    """A model of Ollama's registry, in GGUF or in safetensors with MLX's quantization, depending on its manifest."""

    name: OllamaName


Source = HubSource | FolderSource | ContentSource | ArtifactSource | OllamaSource


def is_gguf(source: Source) -> bool:
    """Whether a source names a GGUF file."""
    return isinstance(source, HubSource | FolderSource | ContentSource) and source.gguf is not None


@dataclass(frozen=True, slots=True)
class QuantizationScheme:
    """How a weight matrix is quantized along its last axis (`mx.quantize`)."""

    mode: Literal["affine", "mxfp4", "mxfp8", "nvfp4"]
    bits: int
    group_size: int


@dataclass(frozen=True, slots=True)
class Quantization:
    """The quantization of a variant's weights."""

    label: str
    """Short name for messages and tags: `none`, `keep`, `fp16`, `bf16`, `int8`, `int4`, `affine-3bit-g64`, ..."""
    scheme: QuantizationScheme | None
    """The default scheme. None quantizes nothing; weights that the source has quantized stay so."""
    recipe: str | None = None
    """A mixed quantization recipe of mlx-lm (`mixed_2_6`, `mixed_3_4`, `mixed_3_6`, `mixed_4_6`)."""
    overrides: tuple[tuple[str, QuantizationScheme | None], ...] = ()
    """(glob for module paths such as `model.layers.3.*`, scheme or None for unquantized); the last match wins."""

    @property
    def keeps(self) -> bool:
        """Whether weights keep the source's quantization (`quantization: keep`)."""
        return self.label == KEEP


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter written by mlx-lm or PEFT; adapters are fused in list order before quantizing."""

    source: Source
    scale: float = 1.0
    """A factor for the adapter's own scale."""


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """The chat template of the artifact."""

    kind: Literal["inherit", "named", "text"]
    value: str = ""
    """The name of a named template, or the Jinja text itself."""


@dataclass(frozen=True, slots=True)
class Gate:
    """A test in the recipe; `parameters` is plain JSON data, validated by the recipe's models."""

    kind: Literal["contents", "template", "tokens", "complete", "perplexity", "size"]
    name: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ResolvedSpec:
    """A variant of a recipe, which is one point of its matrix."""

    recipe: Path
    name: str
    version: str
    variant: str
    description: str
    license: str | None
    """An SPDX expression."""
    base: Source
    dtype: Literal["float32", "bfloat16", "float16"] | None
    """The dtype to cast to; None keeps the source's."""
    quantization: Quantization
    tokenizer: Source | None
    """The source of the tokenizer; None uses the base's."""
    adapters: tuple[Adapter, ...]
    prompt_template: PromptTemplate
    system_prompt: str | None
    defaults: Mapping[str, Any]
    """Default request parameters: temperature, top_p, top_k, min_p, max_tokens, stops, context, repeat_penalty, seed;
    only those that are set."""
    messages: tuple[Mapping[str, str], ...]
    """Messages at the start of every chat: `role` and `content`."""
    gates: tuple[Gate, ...]
    annotations: Mapping[str, str]
    license_files: tuple[tuple[str, str], ...] = ()
    """(file name, text) of each license file."""
    pooling: Literal["mean", "cls", "last"] | None = None
    """How token states are pooled to an embedding; None uses the base's method."""
    kept_variant: str | None = None
    """The variant's name if its base turns out to be quantized and the recipe sets no quantization; None once that is
    settled (`toolchain.lock.settle`)."""
    origins: Mapping[str, Location] | None = field(default=None, compare=False, repr=False)
    """Dotted key to the location of its value; not part of the spec's meaning."""

    @property
    def label(self) -> str:
        """The label `name:variant@version`."""
        return f"{self.name}:{self.variant}@{self.version}"

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the variant; several while its quantization is not settled."""
        return (self.variant,) if self.kept_variant is None else (self.variant, self.kept_variant)
