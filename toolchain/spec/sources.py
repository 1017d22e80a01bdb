"""Which sources a recipe names, over all its variants, and the digest that tells a lock whether they changed."""

from __future__ import annotations

from collections.abc import Mapping

from mlxbuild.registry.core.canonical_json import encode
from mlxbuild.registry.core.digest import Digest
from mlxbuild.toolchain.spec.canonical import source_document
from mlxbuild.toolchain.spec.recipe import Recipe
from mlxbuild.toolchain.spec.resolved import Source


def sources_of(recipe: Recipe) -> Mapping[str, Source]:
    """Role to source, in order: `base`, `base.1`, ..., `tokenizer`, ..., `adapter.0`, ...

    Each distinct source is listed once, under the first role it has; a tokenizer taken from the base's own
    repository, for one, is the role `base`.
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
    """Whether a variant takes its tokenizer from that base."""
    return any(spec.base == source and spec.tokenizer is None for spec in recipe.variants())


def sources_digest(recipe: Recipe) -> Digest:
    """The sha256 over everything that names a source; folders count by how they are written, never by content."""
    return Digest.of_bytes(encode({role: source_document(it) for role, it in sources_of(recipe).items()}))
