"""Shows the progress of pushes, pulls and copies as lines, for logs and pipes: how far it is, every few seconds."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from mlxbuild.registry.core.quantities import format_bytes
from mlxbuild.registry.oci.exchange.progress import (
    BlobAdvanced,
    BlobEnded,
    Event,
    ExchangeBegan,
    ExchangeEnded,
    NamedBlob,
    TransferMethod,
)

_SECONDS_BETWEEN = 2.0


class TransferLines:
    """Writes a line when an exchange begins, one every two seconds while it runs, and one when it has ended."""

    def __init__(self, line: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._line, self._clock = line, clock
        self._begin(0, 0)

    def handle(self, event: Event) -> None:
        """Take an event in, and write a line if it is time."""
        match event:
            case ExchangeBegan(title, blobs, size_bytes):
                self._begin(blobs, size_bytes)
                self._line(f"{title}: {_files(blobs)}, {format_bytes(size_bytes)}")
            case BlobAdvanced(item, count):
                self._partial[item] += count
                self._tell_at_times()
            case BlobEnded(item, way, moved_bytes):
                self._partial.pop(item, None)
                self._done_bytes += item.blob.size_bytes
                self._moved_bytes += moved_bytes
                self._ways[way] += 1
                self._tell_at_times()
            case ExchangeEnded():
                self._line(self._summary())
            case _:
                pass

    def _begin(self, blobs: int, size_bytes: int) -> None:
        self._blobs, self._size_bytes = blobs, size_bytes
        self._done_bytes = self._moved_bytes = 0
        self._partial: Counter[NamedBlob] = Counter()
        self._ways: Counter[TransferMethod] = Counter()
        self._told_at = self._clock()

    def _tell_at_times(self) -> None:
        now, done = self._clock(), self._ways.total()
        if now - self._told_at < _SECONDS_BETWEEN or done == self._blobs:
            return
        self._told_at = now
        so_far = format_bytes(self._done_bytes + self._partial.total())
        self._line(f"{done}/{_files(self._blobs)}, {so_far} of {format_bytes(self._size_bytes)}")

    def _summary(self) -> str:
        told = {
            TransferMethod.MOVED: f"transferred, {format_bytes(self._moved_bytes)}",
            TransferMethod.MOUNTED: "mounted",
            TransferMethod.PRESENT: "there already",
        }
        parts = [f"{self._ways[way]} {words}" for way, words in told.items() if self._ways[way]]
        return f"{_files(self._blobs)}: {'; '.join(parts) or 'nothing to transfer'}"


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"
