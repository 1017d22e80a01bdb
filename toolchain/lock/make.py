"""Makes a lock: pins new and changed sources, and keeps what the previous lock pinned."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.core.lock import Lock, LockedSource
from mlxbuild.toolchain.lock.identity import Identity, identity, locked_identity
from mlxbuild.toolchain.lock.pin import pin_artifact, pin_folder, pin_hub
from mlxbuild.toolchain.lock.pin_gguf import pin_gguf_folder, pin_gguf_hub
from mlxbuild.toolchain.sources.file_index import FileIndex
from mlxbuild.toolchain.sources.hub import Hub
from mlxbuild.toolchain.spec.recipe import Recipe
from mlxbuild.toolchain.spec.resolved import (
    ArtifactSource,
    ContentSource,
    FolderSource,
    HubSource,
    OllamaSource,
    Source,
    is_gguf,
)
from mlxbuild.toolchain.spec.sources import inherits_tokenizer, sources_digest, sources_of


def make_lock(
    recipe: Recipe,
    store: Store,
    previous: Lock | None = None,
    *,
    upgrade: bool | Collection[str] = False,
    hub: Hub | None = None,
    notice: Callable[[str], None] = lambda _: None,
) -> Lock:
    """Lock every source of a recipe.

    A branch or tag stays at the commit, and a reference at the artifact, that `previous` pinned, so nothing changes
    silently. Folders are always checked for changes.

    Args:
        recipe: The recipe that names the sources.
        store: Resolves references to artifacts; its home holds the index of hashed files.
        previous: The previous lock.
        upgrade: Resolve names again: for all roles, or for some.
        hub: By default the Hub configured by the environment; used only for what `previous` does not pin.
        notice: Called with a sentence for each part of a source that is left out.

    Raises:
        UnknownReference: an artifact is not in the store.
        MlxbuildError: as `pin_folder`, `pin_artifact`, `pin_hub` and `pin_ollama`.
    """
    hub = hub or Hub.of(store.home)
    index = FileIndex(store.home)
    locked = []
    for role, source in sorted(sources_of(recipe).items()):
        moves = upgrade if isinstance(upgrade, bool) else role in upgrade
        before = None if previous is None else _before(previous, role, identity(source))
        if is_gguf(source):
            tokenizer = inherits_tokenizer(recipe, source)
            locked.append(_lock_gguf(role, source, store, before, moves, hub, index, tokenizer=tokenizer))
        elif isinstance(source, OllamaSource):
            tokenizer = inherits_tokenizer(recipe, source)
            locked.append(
                _lock_ollama(role, source, store, before, index, tokenizer=tokenizer, moves=moves, notice=notice)
            )
        else:
            assert not isinstance(source, ContentSource)  # occurs in artifacts only, never in a recipe
            locked.append(_lock_source(role, source, store, before, moves, hub, index))
    return Lock(sources_digest(recipe), tuple(locked))


def changes(before: Lock | None, after: Lock) -> tuple[str, ...]:
    """The differences between a new lock and the previous one, one sentence each."""
    sentences = []
    for source in after.sources:
        old = None if before is None else before.source(source.role)
        name = locked_identity(source)
        if old is None or locked_identity(old) != name:
            sentences.append(f"`{source.role}` is now {name}{_at(source)}")
        elif old.pinned != source.pinned:
            sentences.append(f"`{source.role}` ({name}) moved from {_short(old.pinned)} to {_short(source.pinned)}")
        elif old != source:
            sentences += [f"`{source.role}`: `{path}` {how}" for path, how in file_changes(old, source).items()]
    roles = {source.role for source in after.sources}
    gone = () if before is None else (source.role for source in before.sources if source.role not in roles)
    return (*sentences, *(f"`{role}` is no longer a source" for role in gone))


def file_changes(before: LockedSource, after: LockedSource) -> dict[str, str]:
    """Path to `was added`, `was removed` or `changed`, sorted by path."""
    old = {file.path: file.blob for file in before.files}
    new = {file.path: file.blob for file in after.files}
    how = {}
    for path in sorted(old.keys() | new.keys()):
        if path not in old:
            how[path] = "was added"
        elif path not in new:
            how[path] = "was removed"
        elif old[path] != new[path]:
            how[path] = "changed"
    return how


def _lock_source(
    role: str,
    source: HubSource | FolderSource | ArtifactSource,
    store: Store,
    before: LockedSource | None,
    moves: bool,
    hub: Hub,
    index: FileIndex,
) -> LockedSource:
    pinned = None if before is None or moves else before.pinned
    match source:
        case FolderSource():
            return pin_folder(role, source, index)
        case ArtifactSource(reference):
            digest = Digest.parse(pinned) if pinned else store.tags.resolve(reference)
            if before is not None and before.pinned == str(digest):
                return replace(before, role=role)
            return pin_artifact(role, source, store, digest)
        case HubSource(repository=repository, revision=revision, include=include):
            commit = pinned or hub.commit(repository, revision)
            if before is not None and before.pinned == commit and before.include == include:
                return replace(before, role=role)
            return pin_hub(role, source, hub, commit, index)


def _lock_gguf(
    role: str,
    source: Source,
    store: Store,
    before: LockedSource | None,
    moves: bool,
    hub: Hub,
    index: FileIndex,
    *,
    tokenizer: bool,
) -> LockedSource:
    if isinstance(source, FolderSource):
        return pin_gguf_folder(role, source, index, store, tokenizer=tokenizer)
    assert isinstance(source, HubSource)
    pinned = None if before is None or moves else before.pinned
    commit = pinned or hub.commit(source.repository, source.revision)
    same = before is not None and before.pinned == commit and before.derives_tokenizer == tokenizer
    # If a derived document is missing, this version may derive a different one: the source is locked again.
    if before is not None and same and all(store.has(file.blob.digest) for file in before.files if file.derived):
        return replace(before, role=role)
    return pin_gguf_hub(role, source, hub, commit, index, store, tokenizer=tokenizer)


def _lock_ollama(
    role: str,
    source: OllamaSource,
    store: Store,
    before: LockedSource | None,
    index: FileIndex,
    *,
    tokenizer: bool,
    moves: bool,
    notice: Callable[[str], None],
) -> LockedSource:
    if before is not None and not moves:
        same = before.gguf is None or before.derives_tokenizer == tokenizer
        if same and all(store.has(file.blob.digest) for file in before.files if file.derived):
            return replace(before, role=role)
    from mlxbuild.toolchain.lock.pin_ollama import (
        pin_ollama,  # imported late, because it loads an HTTP client
    )

    return pin_ollama(role, source, before, index, store, tokenizer=tokenizer, moves=moves, notice=notice)


def _before(previous: Lock, role: str, wanted: Identity) -> LockedSource | None:
    """The previous lock's source with the same identity, apart from `include`, and the same kind of role."""
    same = [
        source
        for source in previous.sources
        if replace(locked_identity(source), include=wanted.include) == wanted
        and source.role.partition(".")[0] == role.partition(".")[0]
    ]
    return next((source for source in same if source.role == role), same[0] if same else None)


def _at(source: LockedSource) -> str:
    return f" at {_short(source.pinned)}" if source.pinned else ""


def _short(pinned: str | None) -> str:
    return (pinned or "nothing").removeprefix("sha256:")[:12]
