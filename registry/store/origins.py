"""Records where the manifests of a store come from: their former names, and the artifacts they were built from.

Current names are in the tag table. The trust policy uses these origins, so that a copy under another name, or a model
built from an artifact, is held to the rules of the original name.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mlxbuild.registry.core.digest import Digest, InvalidDigest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.durable import replace_file
from mlxbuild.registry.store.errors import StoreFailure
from mlxbuild.registry.store.leases import exclusive_file

FILE_NAME = "origins.json"


@dataclass(frozen=True, slots=True)
class Origin:
    """The origin of one manifest."""

    names: tuple[str, ...] = ()
    """Former references: names in this store until they were removed or moved, and the names it was fetched by."""
    bases: tuple[Digest, ...] = ()
    """The artifacts that it was built from on this machine."""

    def joined(self, other: Origin) -> Origin:
        """This origin merged with another; the entries of this one come first."""
        return Origin(
            tuple(dict.fromkeys((*self.names, *other.names))), tuple(dict.fromkeys((*self.bases, *other.bases)))
        )


class Origins:
    """The origins of a home, in one file beside the store. Homes of earlier versions have no such file."""

    def __init__(self, home: Home) -> None:
        self._path = home.root / FILE_NAME
        self._lock = home.cache / "locks" / "origins"
        self._temporary = home.cache / "tmp"

    def read(self) -> dict[Digest, Origin]:
        """All origins by manifest digest.

        Raises:
            StoreFailure: the file cannot be read.
        """
        try:
            document = json.loads(self._path.read_bytes())
            return {Digest.parse(digest): _origin(entry) for digest, entry in document.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError, LookupError, TypeError, RecursionError, InvalidDigest) as error:
            raise StoreFailure(
                f"the origins cannot be read: {error}",
                where=str(self._path),
                hint="restore the file from a backup; without it, the policy knows only the current names of artifacts",
            ) from error

    def record(self, found: Mapping[Digest, Origin]) -> None:
        """Add the origins of manifests to what is recorded already.

        Raises:
            DiskFull, StoreReadOnly, StoreFailure: nothing was recorded.
        """

        def joined(known: Mapping[Digest, Origin]) -> dict[Digest, Origin]:
            return {**known, **{digest: known.get(digest, Origin()).joined(origin) for digest, origin in found.items()}}

        if not found:
            return
        known = self.read()
        if joined(known) != known:
            with exclusive_file(self._lock):
                self._write(joined(self.read()))

    def retain(self, digests: Collection[Digest]) -> None:
        """Forget all manifests except these and those that they were built from.

        Raises:
            DiskFull, StoreReadOnly, StoreFailure: nothing was forgotten.
        """
        known = self.read()
        kept = {*digests, *bases_of(known, digests)}
        if known.keys() - kept:
            with exclusive_file(self._lock):
                self._write({digest: origin for digest, origin in self.read().items() if digest in kept})

    @property
    def size_bytes(self) -> int:
        """The size of the file; 0 if it does not exist."""
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def _write(self, origins: Mapping[Digest, Origin]) -> None:
        document = {
            str(digest): {"names": list(origin.names), "bases": [str(base) for base in origin.bases]}
            for digest, origin in sorted(origins.items())
        }
        data = json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"
        replace_file(self._path, data, temporary_folder=self._temporary)


def bases_of(origins: Mapping[Digest, Origin], digests: Iterable[Digest]) -> set[Digest]:
    """The manifests that some manifests were built from, directly or indirectly."""
    found: set[Digest] = set()
    queue = list(digests)
    while queue:
        origin = origins.get(queue.pop(), Origin())
        queue += [base for base in origin.bases if base not in found]
        found.update(origin.bases)
    return found


def _origin(entry: Mapping[str, Any]) -> Origin:
    names, bases = entry["names"], entry["bases"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or not isinstance(bases, list):
        raise TypeError("an entry has no list of names and of bases")
    return Origin(tuple(names), tuple(Digest.parse(base) for base in bases))
