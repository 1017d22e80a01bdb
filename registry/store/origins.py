"""Where the manifests of a store come from: names that they had, here or elsewhere, and what they were built from.

Names that they have now are the tags' matter. Nothing is judged here: the trust policy asks, so that a copy under
another name, or a model that was built from it, is held to what the first name is held to.
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
    """Where one manifest comes from."""

    names: tuple[str, ...] = ()
    """References by which it was known: in this store until they were removed or moved, or where it was fetched."""
    bases: tuple[Digest, ...] = ()
    """The artifacts that it was made from on this machine."""

    def joined(self, other: Origin) -> Origin:
        """Both; what was known first stays first."""
        return Origin(
            tuple(dict.fromkeys((*self.names, *other.names))), tuple(dict.fromkeys((*self.bases, *other.bases)))
        )


class Origins:
    """The origins that a home keeps, in one file beside the store. Homes of earlier versions have none."""

    def __init__(self, home: Home) -> None:
        self._path = home.root / FILE_NAME
        self._lock = home.cache / "locks" / "origins"
        self._temporary = home.cache / "tmp"

    def read(self) -> dict[Digest, Origin]:
        """All of them.

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
                hint="bring the file back from a backup; without it, the policy knows artifacts by their names alone",
            ) from error

    def record(self, found: Mapping[Digest, Origin]) -> None:
        """Note where manifests come from, beside what is noted already.

        Raises:
            DiskFull, StoreReadOnly, StoreFailure: nothing was noted.
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
        """Forget all manifests but these, and those that they were made from.

        Raises:
            DiskFull, StoreReadOnly, StoreFailure: all are there still.
        """
        known = self.read()
        kept = {*digests, *bases_of(known, digests)}
        if known.keys() - kept:
            with exclusive_file(self._lock):
                self._write({digest: origin for digest, origin in self.read().items() if digest in kept})

    @property
    def size_bytes(self) -> int:
        """Of the file; 0 where there is none."""
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
    """What some manifests were made from, and what that was made from, to the end."""
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
