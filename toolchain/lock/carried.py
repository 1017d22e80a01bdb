"""Prepares recipe and lock for an artifact: a folder outside of the recipe's is replaced by the digest of its content.

The same content thus gives the same artifact wherever it lies, and nobody who pulls it sees paths of other machines.
The recipe and the lock on disk keep the path, which is needed to find the files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mlxbuild.registry.core import canonical_json
from mlxbuild.registry.core.digest import Digest
from mlxbuild.toolchain.core.lock import LockedSource
from mlxbuild.toolchain.lock.identity import identity, locked_identity
from mlxbuild.toolchain.spec.recipe_folder import leads_out
from mlxbuild.toolchain.spec.resolved import Adapter, ContentSource, FolderSource, ResolvedSpec, Source


def carried(spec: ResolvedSpec, sources: Iterable[LockedSource]) -> tuple[ResolvedSpec, tuple[LockedSource, ...]]:
    """A variant and its sources in the form that its artifact stores.

    Args:
        spec: The variant.
        sources: The sources that it names. If several folders have the same content, the first is listed.
    """
    locked = {locked_identity(source): source for source in sources}

    def named(source: Source) -> Source:
        if isinstance(source, FolderSource) and leads_out(source.written):
            return ContentSource(_content(locked[identity(source)]), source.gguf)
        return source

    tokenizer = None if spec.tokenizer is None else named(spec.tokenizer)
    adapters = tuple(Adapter(named(adapter.source), adapter.scale) for adapter in spec.adapters)
    listed: dict[object, LockedSource] = {}
    for source in map(_without_path, locked.values()):
        listed.setdefault(locked_identity(source), source)
    return replace(spec, base=named(spec.base), tokenizer=tokenizer, adapters=adapters), tuple(listed.values())


def _without_path(source: LockedSource) -> LockedSource:
    if source.kind == "folder" and leads_out(source.identity):
        return replace(source, kind="content", identity=str(_content(source)))
    return source


def _content(source: LockedSource) -> Digest:
    """Digest of the paths and digests of the files that a source takes from its folder."""
    files = {file.path: str(file.blob.digest) for file in source.files if not file.derived}
    return Digest.of_bytes(canonical_json.encode(files))
