"""What an artifact carries of a recipe and its lock: a folder that is not below the recipe's is named by its content.

So the same content gives the same artifact wherever it lies, and whoever pulls it learns of nobody's disk. The recipe
and the lock of the person who builds keep the path, by which the files are found.
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
    """A variant and its sources as its artifact carries them.

    Args:
        spec: The variant.
        sources: Those that it names. Of several folders that hold the same, the first is listed.
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
    """The sha256 over names and digests of the files that a source takes from its folder."""
    files = {file.path: str(file.blob.digest) for file in source.files if not file.derived}
    return Digest.of_bytes(canonical_json.encode(files))
