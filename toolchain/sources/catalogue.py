"""Finds, fetches and verifies the files of locked sources on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mlxbuild.registry.store.layout import BlobMissing, Store
from mlxbuild.toolchain.core.lock import LockedFile, LockedSource
from mlxbuild.toolchain.core.lock_errors import StaleLock
from mlxbuild.toolchain.sources.errors import SourceCorrupt, SourceMissing
from mlxbuild.toolchain.sources.file_index import FileIndex
from mlxbuild.toolchain.sources.folder import resolve
from mlxbuild.toolchain.sources.headers import check_header, has_header
from mlxbuild.toolchain.spec.ollama_name import OllamaName
from mlxbuild.toolchain.spec.recipe_folder import absolute

if TYPE_CHECKING:
    from mlxbuild.toolchain.sources.hub import Hub
    from mlxbuild.toolchain.sources.ollama.registry import OllamaRegistry

_MOST_NAMES = 8
_LOCK_AGAIN = "run `mlxbuild lock` if the change is meant"
_PUT_BACK = "restore it: only that builds this artifact again. To use another base, name it in the recipe and lock it"


class SourceCatalogue:
    """The source files of one recipe. Safe to use from many threads and processes; instances can be pickled.

    Args:
        recipe_folder: Folder that folder sources in its locks are relative to.
        store: Holds the files of artifact sources; any source file that it holds is taken from there.
        hub: The Hub and its client's cache; by default as configured by the environment.
        folders: More folders in which to look for sources that are named by content.
    """

    def __init__(
        self, recipe_folder: Path, store: Store, hub: Hub | None = None, folders: tuple[Path, ...] = ()
    ) -> None:
        self.folder = recipe_folder
        self._store = store
        self._given_hub = hub
        self._folders = folders
        self._index = FileIndex(store.home)
        self._checked: set[tuple[object, ...]] = set()

    def __reduce__(self) -> tuple[type[SourceCatalogue], tuple[Path, Store, Hub | None, tuple[Path, ...]]]:
        return (SourceCatalogue, (self.folder, self._store, self._given_hub, self._folders))

    @cached_property
    def _hub(self) -> Hub:
        from mlxbuild.toolchain.sources.hub import Hub  # imported late: builds that have all files do not need it

        return self._given_hub or Hub.of(self._store.home)

    @cached_property
    def _ollama(self) -> OllamaRegistry:
        from mlxbuild.toolchain.sources.ollama.registry import (
            OllamaRegistry,  # imported late: only builds with such a source need it
        )

        return OllamaRegistry(self._store)

    def locate(self, source: LockedSource, file: LockedFile) -> Path:
        """A readable path with the content of a locked file, as verified by an earlier `fetch` on this machine.

        If there are several, the path of the source itself is preferred, so that errors never name another project's.
        If all have been touched since, for example by a hard link, they are hashed again.

        Raises:
            SourceMissing: no file on this machine is known to hold it.
            SourceChanging: it is being modified.
            FileIndexFailure: the index cannot be written.
        """
        paths = tuple(self._index.paths(file.blob.digest)) or self._hashed_anew(file)
        if not paths:
            raise SourceMissing(
                f"no file on this machine is known to hold {file.blob.digest}",
                hint="run the build again: what changed or vanished meanwhile is fetched anew",
            )
        own = self._own(source, file) if len(paths) > 1 else ()
        return next((path for path in paths if path in own), paths[0])

    def _hashed_anew(self, file: LockedFile) -> tuple[Path, ...]:
        verification = _Verification(self._index, file, _Meter(0, lambda _: None), lambda: None)
        touched = self._index.touched(file.blob.digest)
        return tuple(path for path in touched if verification.holds(path, immutable=False))

    def present(self, source: LockedSource, file: LockedFile) -> bool:
        """Whether a locked file is on this machine and verified, without hashing or network access."""
        if source.kind == "folder" and not file.derived and (place := self._in_folder(source, file)).is_file():
            known = self._index.known(place)
            if known is None or known == file.blob:
                return known is not None
        return any(True for _ in self._index.paths(file.blob.digest, settled=True))

    def _own(self, source: LockedSource, file: LockedFile) -> tuple[Path, ...]:
        """The paths at which a source itself has a file."""
        if file.derived or source.kind in ("artifact", "ollama"):
            return (self._store.path(file.blob.digest),) if self._store.has(file.blob.digest) else ()
        if source.kind == "folder":
            return (self._in_folder(source, file),)
        if source.kind == "content":
            return tuple(self._in_folders(file))
        return tuple(self._hub.cached(source.identity, source.pinned or "", file.path, file.blob.digest))

    def _in_folder(self, source: LockedSource, file: LockedFile) -> Path:
        return absolute(self.folder.absolute(), source.identity) / file.path

    def _in_folders(self, file: LockedFile) -> Iterator[Path]:
        return (place for folder in self._folders if (place := folder / file.path).is_file())

    def fetch(
        self,
        source: LockedSource,
        file: LockedFile,
        progress: Callable[[int], None] = lambda _: None,
        checkpoint: Callable[[], None] = lambda: None,
    ) -> Path:
        """The path of a locked file, verified: a local one, or downloaded. Only this uses the network.

        A damaged copy in the Hub client's cache is downloaded again.

        Args:
            source: The source that lists the file.
            file: The file.
            progress: Called with numbers of bytes that add up to at most the file's size.
            checkpoint: Called between chunks; may raise.

        Raises:
            StaleLock: a local file differs from the lock, or a derived one would differ if derived today.
            SourceCorrupt: the Hub or the store returns other bytes than the locked ones, or the header of weights
                differs from what was read by ranges.
            SourceMissing: it was not found.
            HubUnreachable, HubRateLimited, Offline, RepositoryMissing, GatedRepository, RevisionMissing,
            AccessDenied, DiskFull, HubCacheFailure: as `Hub.download`.
            RegistryFailure, TransferCorrupt: as `OllamaRegistry.download`.
        """
        path = self._find(source, file, progress, checkpoint)
        if has_header(source, file) and (seen := (source.header, source.tensors, file)) not in self._checked:
            check_header(source, file, lambda other: path if other == file else self._known(other))
            self._checked.add(seen)
        return path

    def _known(self, file: LockedFile) -> Path | None:
        return next(self._index.paths(file.blob.digest), None)

    def _find(
        self,
        source: LockedSource,
        file: LockedFile,
        progress: Callable[[int], None],
        checkpoint: Callable[[], None],
    ) -> Path:
        verification = _Verification(self._index, file, _Meter(file.blob.size_bytes, progress), checkpoint)
        if source.kind == "folder" and not file.derived:
            own = resolve(absolute(self.folder.absolute(), source.identity), file.path, source.role)
            if verification.holds(own, immutable=False):
                return own
        for path in self._index.paths(file.blob.digest, settled=True):
            verification.meter(file.blob.size_bytes)
            return path
        if file.derived:
            return self._derive(source, file)
        match source.kind:
            case "folder":
                return self._read_in_place(source, file, verification)
            case "content":
                return self._by_content(source, verification)
            case "artifact":
                return self._from_store(source, verification)
            case "hub":
                return self._from_hub(source, verification)
            case "ollama":
                return self._from_ollama(source, verification)

    def _derive(self, source: LockedSource, file: LockedFile) -> Path:
        """Derive all documents of a source from its headers and store them; returns the path of one of them."""
        if not self._store.has(file.blob.digest):
            from mlxbuild.toolchain.sources.again import derive_again  # loads much, and is rarely needed

            for content in derive_again(source, self._place_to_read, lambda: self._hub, lambda: self._ollama).values():
                self._index.content(self._store.path(self._store.put(content).digest), immutable=True)
        if not self._store.has(file.blob.digest):
            raise StaleLock(
                f"`{file.path}` of `{source.identity}` was derived differently by the mlxbuild that locked it",
                where=str(file.blob.digest),
                hint="run `mlxbuild lock`, or use the version that locked it",
            )
        path = self._store.path(file.blob.digest)
        self._index.content(path, immutable=True)
        return path

    def _place_to_read(self, source: LockedSource, file: LockedFile) -> Path:
        """The path of a file of a local source, found by name unless the source is named by content."""
        if source.kind == "content":
            return self.fetch(source, file)
        place = resolve(absolute(self.folder.absolute(), source.identity), file.path, source.role)
        if not place.is_file():
            raise StaleLock(f"`{file.path}` is gone from `{source.identity}`", where=str(place), hint=_PUT_BACK)
        return place

    def _read_in_place(self, source: LockedSource, file: LockedFile, verification: _Verification) -> Path:
        path = self._place_to_read(source, file)
        if not verification.holds(path, immutable=False):
            raise StaleLock(
                f"`{file.path}` in `{source.identity}` is not what the lock says",
                where=str(path),
                hint=_LOCK_AGAIN,
            )
        return path

    def _by_content(self, source: LockedSource, verification: _Verification) -> Path:
        file = verification.file
        places = [*self._in_folders(file), *self._index.paths(file.blob.digest)]
        with suppress(BlobMissing):
            places.append(self._store.path(file.blob.digest))
        for place in places:
            if verification.holds(place, immutable=False):
                return place
        files = sorted(each.path for each in source.files if not each.derived)
        more = (f"and {len(files) - _MOST_NAMES} more",) if len(files) > _MOST_NAMES else ()
        names = ", ".join((*files[:_MOST_NAMES], *more))
        is_other = f"; `{places[0]}` is another" if places else ""
        raise SourceMissing(
            f"the {source.role} was a folder outside of its recipe's, which the artifact names by content alone "
            f"({source.identity}), and its `{file.path}` is nowhere known{is_other}",
            where=str(file.blob.digest),
            hint=f"only the folder with {names} builds this artifact again: restore it, or name a recipe with `-f` "
            "whose base is a copy of it",
        )

    def _from_store(self, source: LockedSource, verification: _Verification) -> Path:
        file = verification.file
        try:
            path = self._store.path(file.blob.digest)
        except BlobMissing as error:
            raise SourceMissing(
                f"`{file.path}` of the artifact `{source.identity}` is not in the store",
                where=str(file.blob.digest),
                hint="build or pull that artifact again",
            ) from error
        if not verification.holds(path, immutable=True):
            raise SourceCorrupt(
                f"`{file.path}` of the artifact `{source.identity}` is damaged in the store",
                where=str(path),
                hint="build or pull that artifact again",
            )
        return path

    def _from_hub(self, source: LockedSource, verification: _Verification) -> Path:
        file = verification.file
        commit = source.pinned or ""
        damaged = False
        for path in self._copies(source, file):
            if verification.holds(path, immutable=True):
                return path
            damaged = True
        for again in (damaged, True):
            path = self._hub.download(
                source.identity,
                commit,
                file.path,
                again=again,
                progress=verification.meter,
                checkpoint=verification.checkpoint,
            )
            if verification.holds(path, immutable=True):
                return path
        raise SourceCorrupt(
            f"the Hub's bytes of `{file.path}` are not those that the lock pins ({file.blob.digest})",
            where=f"{source.identity}@{commit}/{file.path}",
            hint="check HF_ENDPOINT; if the repository was tampered with, do not build from it",
        )

    def _from_ollama(self, source: LockedSource, verification: _Verification) -> Path:
        blob = verification.file.blob
        if (path := self._ollama.place(blob)) is not None and verification.holds(path, immutable=False):
            return path

        def advance(count: int) -> None:
            verification.checkpoint()
            verification.meter(count)

        path = self._ollama.download(OllamaName.parse(source.identity), blob, advance)
        self._index.content(path, immutable=True)
        return path

    def _copies(self, source: LockedSource, file: LockedFile) -> Iterator[Path]:
        with suppress(BlobMissing):
            yield self._store.path(file.blob.digest)
        yield from self._hub.cached(source.identity, source.pinned or "", file.path, file.blob.digest)


class _Meter:
    """Reports progress until the file's size is reached, no matter how often its bytes are read."""

    def __init__(self, size_bytes: int, progress: Callable[[int], None]) -> None:
        self._left = size_bytes
        self._progress = progress

    def __call__(self, count: int) -> None:
        count = min(count, self._left)
        self._left -= count
        if count > 0:
            self._progress(count)


@dataclass(frozen=True, slots=True)
class _Verification:
    """Verifies that a file has the locked digest."""

    index: FileIndex
    file: LockedFile
    meter: _Meter
    checkpoint: Callable[[], None]

    def holds(self, path: Path, *, immutable: bool) -> bool:
        try:
            if path.stat().st_size != self.file.blob.size_bytes:
                return False
        except OSError:
            return False
        found = self.index.content(path, immutable=immutable, progress=self.meter, checkpoint=self.checkpoint)
        return found == self.file.blob
