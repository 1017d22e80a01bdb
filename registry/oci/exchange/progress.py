"""The progress events of a push, pull or copy, which the caller may display."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from threading import Lock

from mlxbuild.registry.core.digest import Blob, Digest


class TransferMethod(StrEnum):
    """How a blob got to its target."""

    MOVED = "moved"
    PRESENT = "present"
    MOUNTED = "mounted"


@dataclass(frozen=True, slots=True)
class NamedBlob:
    """A blob with a name for display: the path of a file, or `config`."""

    blob: Blob
    name: str


@dataclass(frozen=True, slots=True)
class ExchangeBegan:
    """An artifact's blobs are about to be transferred. `title` says what goes where."""

    title: str
    blobs: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class BlobAdvanced:
    """More bytes of a blob have arrived; a negative number means that some were discarded."""

    item: NamedBlob
    count: int


@dataclass(frozen=True, slots=True)
class BlobEnded:
    """A blob has arrived; `moved_bytes` were transferred for it now."""

    item: NamedBlob
    way: TransferMethod
    moved_bytes: int


@dataclass(frozen=True, slots=True)
class ExchangeEnded:
    """All blobs of the artifact that began last have arrived."""

    title: str


@dataclass(frozen=True, slots=True)
class EvidenceLeftOut:
    """A referrer was left out."""

    digest: Digest
    reason: str


@dataclass(frozen=True, slots=True)
class MirrorLeftOut:
    """A mirror failed and is not asked again."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning for the user."""

    message: str


Event = ExchangeBegan | BlobAdvanced | BlobEnded | ExchangeEnded | EvidenceLeftOut | MirrorLeftOut | Warned
Observe = Callable[[Event], None]


def one_at_a_time(observe: Observe | None) -> Observe:
    """Wrap an observer so that two threads never call it at once."""
    if observe is None:
        return _ignore
    lock, observer = Lock(), observe

    def observe_alone(event: Event) -> None:
        with lock:
            observer(event)

    return observe_alone


def _ignore(_event: Event) -> None:
    return None
