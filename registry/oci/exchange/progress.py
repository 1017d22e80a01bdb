"""What an exchange tells while it goes on: a handful of events, one at a time. Showing them is the caller's matter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from threading import Lock

from mlxbuild.registry.core.digest import Blob, Digest


class Way(StrEnum):
    """How a blob came to its place."""

    MOVED = "moved"
    PRESENT = "present"
    MOUNTED = "mounted"


@dataclass(frozen=True, slots=True)
class NamedBlob:
    """A blob with the name by which people know it: the path of a file, or `config`."""

    blob: Blob
    name: str


@dataclass(frozen=True, slots=True)
class ExchangeBegan:
    """An artifact's blobs are about to move. `title` says what goes where."""

    title: str
    blobs: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class BlobAdvanced:
    """So many more bytes of a blob are in their place; fewer, if the number is negative."""

    item: NamedBlob
    count: int


@dataclass(frozen=True, slots=True)
class BlobEnded:
    """A blob is in its place; `moved_bytes` went over the network for it now."""

    item: NamedBlob
    way: Way
    moved_bytes: int


@dataclass(frozen=True, slots=True)
class ExchangeEnded:
    """All blobs of the artifact that began last are in their place."""

    title: str


@dataclass(frozen=True, slots=True)
class EvidenceLeftOut:
    """A referrer does not travel."""

    digest: Digest
    reason: str


@dataclass(frozen=True, slots=True)
class MirrorLeftOut:
    """A mirror is not asked again."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that a person should know, and that stops nothing."""

    message: str


Event = ExchangeBegan | BlobAdvanced | BlobEnded | ExchangeEnded | EvidenceLeftOut | MirrorLeftOut | Warned
Observe = Callable[[Event], None]


def one_at_a_time(observe: Observe | None) -> Observe:
    """The same observer, never called by two threads at once."""
    if observe is None:
        return _ignore
    lock, told = Lock(), observe

    def observe_alone(event: Event) -> None:
        with lock:
            told(event)

    return observe_alone


def _ignore(_event: Event) -> None:
    return None
