"""Lists the sources of all variants of a recipe, and computes a digest that shows whether they changed."""

from __future__ import annotations

from collections.abc import Mapping

from mlxbuild.registry.core.canonical_json import encode
from mlxbuild.registry.core.digest import Digest
from mlxbuild.toolchain.spec.canonical import source_document
from mlxbuild.toolchain.spec.recipe import Recipe
from mlxbuild.toolchain.spec.resolved import Source


def sources_of(recipe: Recipe) -> Mapping[str, Source]:
    """Role to source, in order: `base`, `base.1`, ..., `tokenizer`, ..., `adapter.0`, ...

    Each distinct source is listed once, under its first role; a tokenizer from the base's own repository, for
    example, has the role `base`.
    """
    variants = recipe.variants()
    bases = [spec.base for spec in variants]
    tokenizers = [spec.tokenizer for spec in variants if spec.tokenizer is not None]
    adapters = [adapter.source for spec in variants for adapter in spec.adapters]
    roles: dict[Source, str] = {}
    for name, sources in (("base", bases), ("tokenizer", tokenizers)):
        fresh = [source for source in dict.fromkeys(sources) if source not in roles]
        roles |= {source: f"{name}.{number}" if number else name for number, source in enumerate(fresh)}
    fresh = [source for source in dict.fromkeys(adapters) if source not in roles]
    roles |= {source: f"adapter.{number}" for number, source in enumerate(fresh)}
    return {role: source for source, role in roles.items()}


def inherits_tokenizer(recipe: Recipe, source: Source) -> bool:
    """Whether a variant uses the tokenizer of that base."""
    return any(spec.base == source and spec.tokenizer is None for spec in recipe.variants())


def sources_digest(recipe: Recipe) -> Digest:
    """The sha256 of everything that names a source; folders count by their path as written, not by content."""
    return Digest.of_bytes(encode({role: source_document(it) for role, it in sources_of(recipe).items()}))
