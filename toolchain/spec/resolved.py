"""One variant of a recipe, fully resolved: what the rest of the toolchain reads. Parsing lives beside it.

Everything here is plain, frozen and free of paths of the machine, except `recipe` and the folder paths of sources,
which never enter a key. Texts that the recipe names by file (templates, system prompts, golden prompts, evaluation
texts) are inlined, so an artifact can carry its whole recipe.
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
"""The form of recipes and of their canonical documents."""

KEEP = "keep"
"""The label of weights that stay as their source has them quantized."""


@dataclass(frozen=True, slots=True)
class HubSource:
    """A Hugging Face repository at a revision as written (branch, tag or commit)."""

    repository: str
    revision: str
    include: tuple[str, ...] = ()
    """Globs of the files to take; empty means the default list."""
    gguf: str | None = None
    """The GGUF file that the model is in, or the first of its parts; None for safetensors."""


@dataclass(frozen=True, slots=True)
class FolderSource:
    """A local folder, read in place."""

    path: Path
    """Absolute."""
    written: str
    """As in the recipe, relative to it."""
    gguf: str | None = None
    """Name of the GGUF file that the model is in, or of the first of its parts; None for safetensors."""

    @property
    def as_written(self) -> str:
        """The path in the recipe: of the GGUF file, else of the folder."""
        return self.written if self.gguf is None else str(PurePosixPath(self.written, self.gguf))


@dataclass(frozen=True, slots=True)
class ContentSource:
    """A folder somewhere, as an artifact names one that was not below its recipe's: by what it holds."""

    content: Digest
    """Over names and digests of its files."""
    gguf: str | None = None
    """As of a folder."""


@dataclass(frozen=True, slots=True)
class ArtifactSource:
    """Another artifact in the store."""

    reference: Reference


@dataclass(frozen=True, slots=True)
class OllamaSource:
    """A model of Ollama's registry, in GGUF or in tensors as MLX has them: its manifest tells."""

    name: OllamaName


Source = HubSource | FolderSource | ContentSource | ArtifactSource | OllamaSource


def is_gguf(source: Source) -> bool:
    """Whether a source is named as a GGUF file."""
    return isinstance(source, HubSource | FolderSource | ContentSource) and source.gguf is not None


@dataclass(frozen=True, slots=True)
class QuantizationScheme:
    """How one weight matrix is quantized along its last axis (`mx.quantize`)."""

    mode: Literal["affine", "mxfp4", "mxfp8", "nvfp4"]
    bits: int
    group_size: int


@dataclass(frozen=True, slots=True)
class Quantization:
    """What happens to the weights of a variant."""

    label: str
    """Short name for people and tags: `none`, `keep`, `fp16`, `bf16`, `int8`, `int4`, `affine-3bit-g64`, ..."""
    scheme: QuantizationScheme | None
    """None quantizes nothing; what the source has quantized stays so."""
    recipe: str | None = None
    """A mixed recipe of mlx-lm (`mixed_2_6`, `mixed_3_4`, `mixed_3_6`, `mixed_4_6`)."""
    overrides: tuple[tuple[str, QuantizationScheme | None], ...] = ()
    """(glob over module paths such as `model.layers.3.*`, scheme or None for unquantized); the last match wins."""

    @property
    def keeps(self) -> bool:
        """Whether weights stay as the source has them quantized (`quantization: keep`)."""
        return self.label == KEEP


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter as mlx-lm or PEFT writes it, fused in list order before quantizing."""

    source: Source
    scale: float = 1.0
    """Multiplies the adapter's own scale."""


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """Which chat template the artifact carries."""

    kind: Literal["inherit", "named", "text"]
    value: str = ""
    """The name of a named template, or the Jinja text itself."""


@dataclass(frozen=True, slots=True)
class Gate:
    """One test of the recipe; `parameters` is plain JSON data, checked by the spec's models."""

    kind: Literal["contents", "template", "tokens", "complete", "perplexity", "size"]
    name: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ResolvedSpec:
    """One point of a recipe's matrix."""

    recipe: Path
    name: str
    version: str
    variant: str
    description: str
    license: str | None
    """SPDX expression."""
    base: Source
    dtype: Literal["float32", "bfloat16", "float16"] | None
    """None keeps what the source has."""
    quantization: Quantization
    tokenizer: Source | None
    """None inherits the base's."""
    adapters: tuple[Adapter, ...]
    prompt_template: PromptTemplate
    system_prompt: str | None
    defaults: Mapping[str, Any]
    """temperature, top_p, top_k, min_p, max_tokens, stops, context, repeat_penalty, seed: only those set."""
    messages: tuple[Mapping[str, str], ...]
    """Conversation that precedes every chat: `role` and `content`."""
    gates: tuple[Gate, ...]
    annotations: Mapping[str, str]
    license_files: tuple[tuple[str, str], ...] = ()
    """(file name, text)."""
    pooling: Literal["mean", "cls", "last"] | None = None
    """How texts become vectors; None leaves it to the base."""
    kept_variant: str | None = None
    """What the variant is called if its base turns out to be quantized, where the recipe says nothing of quantization;
    None once that is settled (`toolchain.lock.settle`)."""
    origins: Mapping[str, Location] | None = field(default=None, compare=False, repr=False)
    """Dotted key to where its value was written; no part of what the spec means."""

    @property
    def label(self) -> str:
        """`name:variant@version`."""
        return f"{self.name}:{self.variant}@{self.version}"

    @property
    def labels(self) -> tuple[str, ...]:
        """What the variant is called, or, while that is not settled, may be called."""
        return (self.variant,) if self.kept_variant is None else (self.variant, self.kept_variant)
