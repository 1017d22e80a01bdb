"""The tags of the store: names for manifests, kept in the layout's index.json."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxbuild.registry.core.digest import Digest, InvalidDigest
from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import DEFAULT_TAG, InvalidReference, Reference
from mlxbuild.registry.core.suggestions import listed, nearest
from mlxbuild.registry.store.durable import replace_file
from mlxbuild.registry.store.errors import DiskFull, StoreFailure
from mlxbuild.registry.store.leases import exclusive_file
from mlxbuild.registry.store.origins import Origin, Origins
from mlxbuild.registry.store.space_reserve import SpaceReserve

INDEX_MEDIA_TYPE = "application/vnd.oci.image.index.v1+json"
REF_NAME = "org.opencontainers.image.ref.name"

Entry = dict[str, Any]

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|(?!sha256:)[a-z0-9]+([+._-][a-z0-9]+)*:[\w=-]+")
"""A sha256 digest, or one with an algorithm of another tool."""
_BEGINNING = '{"schemaVersion": 2, "manifests": []}'
"""The index.json of a store without names."""


_ALIKE = 0.5
"""The least similarity (`difflib`) of a name that is suggested."""
_REMOTELY_ALIKE = 0.3
"""The least similarity of a name that is mentioned where none is suggested."""
_MOST_NAMED = 3


class UnknownReference(UserError):
    """The store has no tag of that name, or no blob of that digest."""

    code = "unknown-reference"


@dataclass(frozen=True, slots=True)
class Descriptor:
    """The descriptor of a tagged manifest in index.json (OCI image-spec, descriptor)."""

    digest: Digest
    size_bytes: int
    media_type: str
    artifact_type: str | None = None


class TagTable:
    """The tags of one store. Every change is one atomic replacement of index.json.

    Entries, annotations and keys that other tools wrote are kept as they are. A name that a manifest loses is first
    recorded in its origins. Removing names works on a full disk too, thanks to the reserve.
    """

    def __init__(self, home: Home) -> None:
        self._store = home.store
        self._path = home.store / "index.json"
        self._lock = home.cache / "locks" / "index"
        self._temporary = home.cache / "tmp"
        self._reserve = SpaceReserve(home.cache / "reserve")
        self._origins = Origins(home)

    def create(self) -> None:
        """Write an empty table unless there is one, or was: where blobs lie, their names are lost, not none.

        Raises:
            DiskFull, StoreReadOnly, StoreFailure: it cannot be written.
        """
        with exclusive_file(self._lock):
            if not self._path.exists() and not self._has_blobs():
                self._write(_empty())

    def resolve(self, reference: Reference) -> Digest:
        """The digest of a reference. If the reference has a digest, its tag is ignored, and the store has to hold it.

        Raises:
            UnknownReference: there is no such name or digest; the hint lists similar names.
            StoreFailure: index.json cannot be read.
        """
        if reference.digest is not None:
            if (self._store / "blobs" / reference.digest.algorithm / reference.digest.hex).exists():
                return reference.digest
            raise UnknownReference(
                f"the store does not hold {reference.digest}", hint="pull it, or leave the digest out of the name"
            )
        names = dict(self.items())
        found = names.get(reference.store_name)
        if found is None:
            raise UnknownReference(f"`{reference.store_name}` is not in the store", hint=_hint(reference, names))
        return found.digest

    def set(self, names: Mapping[str, Descriptor]) -> None:
        """Set several store names at once; existing ones move.

        Raises:
            InvalidReference: a name is not `repository:tag`.
            DiskFull, StoreReadOnly, StoreFailure: no tag has moved.
        """
        for name in names:
            if Reference.parse(name).store_name != name:
                raise InvalidReference(f"`{name}` is not a name in the store", hint="write repository:tag")
        self._update(lambda entries: _with(entries, names))

    def remove(self, store_name: str) -> None:
        """Remove a name; its manifest stays until garbage collection.

        Raises:
            UnknownReference: there is no such name.
            DiskFull, StoreReadOnly, StoreFailure: the name is still there.
        """

        def without(entries: list[Entry]) -> list[Entry]:
            kept = [entry for entry in entries if _name(entry) != store_name]
            if len(kept) == len(entries):
                hint = _hint(Reference.parse(store_name), dict(_tagged(entries)))
                raise UnknownReference(f"`{store_name}` is not in the store", hint=hint)
            return kept

        self._update(without, removes=True)

    def items(self) -> list[tuple[str, Descriptor]]:
        """Every tag, sorted by name.

        Raises:
            StoreFailure: index.json cannot be read, or the store is gone.
        """
        try:
            found = self._path.stat()
        except OSError:
            return self._items(None)
        return self._items((found.st_ino, found.st_size, found.st_mtime_ns))

    def names_of(self, digest: Digest) -> list[Reference]:
        """Every name of a manifest, except names by other tools that are not references.

        Raises:
            StoreFailure: index.json cannot be read.
        """
        names: list[Reference] = []
        for name, tagged in self.items():
            if tagged.digest == digest:
                with suppress(InvalidReference):
                    names.append(Reference.parse(name))
        return names

    def add_unnamed(self, descriptors: Iterable[Descriptor]) -> None:
        """List manifests without a name, such as signatures, which belong to another manifest.

        Those already listed without a name stay as they are.

        Raises:
            DiskFull, StoreReadOnly, StoreFailure: nothing was listed.
        """
        wanted = {str(descriptor.digest): descriptor for descriptor in descriptors}

        def extended(entries: list[Entry]) -> list[Entry]:
            listed = {str(entry.get("digest")) for entry in entries if _name(entry) is None}
            return entries + [_entry(None, one) for digest, one in wanted.items() if digest not in listed]

        self._update(extended)

    def unnamed(self) -> list[Descriptor]:
        """The manifests that are listed without a name, in the order of index.json.

        Raises:
            StoreFailure: index.json cannot be read.
        """
        return [descriptor for name, descriptor in _described(self._read()["manifests"]) if name is None]

    def entries(self) -> list[Entry]:
        """Every entry of index.json unchanged, including unnamed entries and those of other tools."""
        entries: list[Entry] = self._read()["manifests"]
        return entries

    def forget(self, digests: Iterable[Digest]) -> None:
        """Drop every entry, named or not, of manifests that garbage collection is about to delete."""
        gone = {str(digest) for digest in digests}

        def without(entries: list[Entry]) -> list[Entry]:
            return [entry for entry in entries if str(entry.get("digest")) not in gone]

        self._update(without, removes=True, notes=False)

    def keep_reserve(self) -> None:
        """Reserve space for the next removal, if the disk has space again."""
        with suppress(OSError):
            self._reserve.keep(2 * (self._path.stat().st_size + self._origins.size_bytes))

    def _items(self, stamp: tuple[int, int, int] | None) -> list[tuple[str, Descriptor]]:
        """The tags, read again only if the file has changed, because a server asks on every request."""
        known = _known.get(self._path)
        if known is None or stamp is None or known[0] != stamp:
            items = sorted(_tagged(self._read()["manifests"]), key=lambda item: item[0])
            known = _known[self._path] = (stamp, items)
        return list(known[1])

    def _update(
        self, change: Callable[[list[Entry]], list[Entry]], *, removes: bool = False, notes: bool = True
    ) -> None:
        with exclusive_file(self._lock):
            index = self._read()
            before = index["manifests"]
            after = change(list(before))
            if after != before:
                lost = _lost(before, after) if notes else {}
                try:
                    self._replace({**index, "manifests": after}, lost)
                except DiskFull:
                    if not removes or not self._reserve.release():
                        raise
                    self._replace({**index, "manifests": after}, lost)

    def _replace(self, index: dict[str, Any], lost: Mapping[Digest, Origin]) -> None:
        self._origins.record(lost)
        self._write(index)

    def _read(self) -> dict[str, Any]:
        try:
            index = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            if not self._store.is_dir():
                raise StoreFailure.gone(self._store) from None
            if self._has_blobs():
                raise self._damaged("there is no such file, and there are blobs") from None
            return _empty()
        except OSError as error:
            raise self._damaged(error.strerror or str(error)) from error
        except (ValueError, RecursionError) as error:
            raise self._damaged(f"it is not JSON ({error})") from error
        if not isinstance(index, dict) or not isinstance(index.get("manifests"), list):
            raise self._damaged("it has no list of manifests")
        if not all(isinstance(entry, dict) for entry in index["manifests"]):
            raise self._damaged("its list of manifests has an entry that is not an object")
        for entry in index["manifests"]:
            if not _DIGEST.fullmatch(str(entry.get("digest"))):  # its blobs would be collected
                whose = "an entry" if _name(entry) is None else f"the entry of `{_name(entry)}`"
                raise self._damaged(f"{whose} has no digest")
            size = entry.get("size", 0)
            if not isinstance(size, int) or isinstance(size, bool) or size < 0:
                raise self._damaged(f"an entry has the size {size!r:.40}")
        return index

    def _damaged(self, reason: str) -> StoreFailure:
        return StoreFailure(
            f"the tags cannot be read: {reason}",
            where=str(self._path),
            hint=f"restore it from a backup, or write `{_BEGINNING}` into it: then building or pulling again "
            "restores the tags, from blobs that stay until `gc`",
        )

    def _has_blobs(self) -> bool:
        return any((self._store / "blobs").glob("*/*"))

    def _write(self, index: dict[str, Any]) -> None:
        data = json.dumps(index, indent=2, ensure_ascii=False).encode() + b"\n"
        replace_file(self._path, data, temporary_folder=self._temporary)
        self.keep_reserve()


_known: dict[Path, tuple[tuple[int, int, int] | None, list[tuple[str, Descriptor]]]] = {}
"""The tags last read by path, with inode, size and time of the file; every change gives it a new inode or time."""


def _empty() -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": INDEX_MEDIA_TYPE, "manifests": []}


def _name(entry: Entry) -> str | None:
    annotations = entry.get("annotations")
    return _text(annotations.get(REF_NAME)) if isinstance(annotations, dict) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _tagged(entries: Iterable[Entry]) -> Iterable[tuple[str, Descriptor]]:
    return ((name, descriptor) for name, descriptor in _described(entries) if name is not None)


def _lost(before: list[Entry], after: list[Entry]) -> dict[Digest, Origin]:
    """The names that manifests lose by a change, as origins."""
    stays = {(name, descriptor.digest) for name, descriptor in _tagged(after)}
    lost: dict[Digest, Origin] = {}
    for name, descriptor in _tagged(before):
        if (name, descriptor.digest) not in stays:
            lost[descriptor.digest] = lost.get(descriptor.digest, Origin()).joined(Origin((name,)))
    return lost


def _described(entries: Iterable[Entry]) -> Iterable[tuple[str | None, Descriptor]]:
    for entry in entries:
        try:
            digest = Digest.parse(str(entry.get("digest")))
        except InvalidDigest:
            continue  # an algorithm of another tool
        yield (
            _name(entry),
            Descriptor(digest, entry.get("size", 0), str(entry.get("mediaType")), _text(entry.get("artifactType"))),
        )


def _with(entries: list[Entry], names: Mapping[str, Descriptor]) -> list[Entry]:
    """Entries with some names set: existing names keep their place, new ones are added at the end, sorted."""
    missing = dict(sorted(names.items()))
    result = []
    for entry in entries:
        name = _name(entry)
        if name not in names:
            result.append(entry)
        elif name in missing:  # a second entry of one name, which only another tool writes, is dropped
            descriptor = missing.pop(name)
            same = entry.get("digest") == str(descriptor.digest)
            result.append(entry if same else _entry(name, descriptor))
    return result + [_entry(name, descriptor) for name, descriptor in missing.items()]


def _entry(name: str | None, descriptor: Descriptor) -> Entry:
    entry: Entry = {
        "mediaType": descriptor.media_type,
        "digest": str(descriptor.digest),
        "size": descriptor.size_bytes,
    }
    if name is not None:
        entry["annotations"] = {REF_NAME: name}
    if descriptor.artifact_type is not None:
        entry["artifactType"] = descriptor.artifact_type
    return entry


def _hint(reference: Reference, names: Mapping[str, Descriptor]) -> str:
    if not names:
        return "the store has no tags yet: build with `mlxbuild create`"
    siblings = [name for name in sorted(names) if name.rpartition(":")[0] == reference.name]
    if reference.tag in (None, DEFAULT_TAG):  # the default tag tells nothing: compare repositories only
        repositories = {name.rpartition(":")[0] for name in names}
        alike = nearest(reference.name, repositories, close_enough=_ALIKE)
        near = [name for each in alike for name in sorted(names) if name.rpartition(":")[0] == each]
    else:
        near = nearest(reference.store_name, names, close_enough=_ALIKE)
    meant = list(dict.fromkeys([*near, *siblings]))
    if not siblings:
        meant = _once_each(meant)
    if meant:
        return f"did you mean {' or '.join(f'`{name}`' for name in meant[:_MOST_NAMED])}?"
    closest = sorted(names, key=lambda name: (reference.name not in name, -_likeness(reference.name, name), name))
    if len(names) > _MOST_NAMED:  # few names are told in any case
        closest = [
            each for each in closest if reference.name in each or _likeness(reference.name, each) >= _REMOTELY_ALIKE
        ]
    if not closest:
        return "`mlxbuild list` shows the names"
    return f"the store has {listed(_once_each(closest)[:_MOST_NAMED])}"


def _once_each(names: Iterable[str]) -> list[str]:
    """The first name of each model."""
    first: dict[str, str] = {}
    for name in names:
        first.setdefault(name.rpartition(":")[0], name)
    return list(first.values())


def _likeness(name: str, other: str) -> float:
    return difflib.SequenceMatcher(None, name, other.rpartition(":")[0]).ratio()
