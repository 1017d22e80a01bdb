"""Transfers several blobs at once, the largest first, and cancels all of them when one fails."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Event as Flag
from threading import Thread

from mlxbuild.registry.artifact.manifest import Manifest
from mlxbuild.registry.artifact.media_types import FILE_PATH, TITLE
from mlxbuild.registry.core import cancellation
from mlxbuild.registry.core.digest import Blob
from mlxbuild.registry.oci.exchange.progress import (
    BlobAdvanced,
    BlobEnded,
    ExchangeBegan,
    ExchangeEnded,
    NamedBlob,
    Observe,
    TransferMethod,
)
from mlxbuild.registry.oci.remote.client import Advance
from mlxbuild.registry.trust.statement import KINDS, PREDICATE_ANNOTATION

DEFAULT_JOBS = 4

Move = Callable[[Blob, Advance], tuple[TransferMethod, int]]
"""A function that transfers a blob; returns how, and how many bytes were transferred."""


@dataclass(frozen=True, slots=True)
class Amount:
    """The amount of a transfer in bytes of blobs."""

    moved_bytes: int = 0
    present_bytes: int = 0
    mounted_bytes: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(
            self.moved_bytes + other.moved_bytes,
            self.present_bytes + other.present_bytes,
            self.mounted_bytes + other.mounted_bytes,
        )


def named_blobs(manifest: Manifest) -> tuple[NamedBlob, ...]:
    """The blobs of a manifest's files and config, each distinct blob once."""
    named: dict[Blob, NamedBlob] = {}
    for number, layer in enumerate(manifest.layers, 1):
        name = layer.annotations.get(FILE_PATH) or layer.annotations.get(TITLE)
        if name is None:
            name = f"layer {number}" if manifest.subject is None else evidence_name(manifest)
        named.setdefault(layer.blob, NamedBlob(layer.blob, name))
    named.setdefault(manifest.config.blob, NamedBlob(manifest.config.blob, "config"))
    return tuple(named.values())


def evidence_name(referrer: Manifest) -> str:
    """The name of a referrer's kind: the short one, if it has one."""
    kind = referrer.annotations.get(PREDICATE_ANNOTATION, "")
    return KINDS.get(kind) or kind or referrer.artifact_type or referrer.config.media_type


def move_all(items: Iterable[NamedBlob], move: Move, *, title: str, observe: Observe, jobs: int) -> Amount:
    """Transfer blobs in `jobs` threads. After a failure or an interrupt the others are cancelled, even while they wait
    for a registry.

    Raises:
        The error of the first transfer that failed.
    """
    ordered = sorted(items, key=lambda item: (-item.blob.size_bytes, item.blob.digest))
    observe(ExchangeBegan(title, len(ordered), sum(item.blob.size_bytes for item in ordered)))
    waiting, stopped, check = deque(ordered), Flag(), cancellation.current()
    amounts: list[Amount] = []
    failures: list[BaseException] = []

    def one(item: NamedBlob) -> Amount:
        def advance(count: int) -> None:
            cancellation.checkpoint()
            if count:
                observe(BlobAdvanced(item, count))

        way, moved_bytes = move(item.blob, advance)
        observe(BlobEnded(item, way, moved_bytes))
        return _amount(item.blob, way, moved_bytes)

    def work() -> None:
        cancellation.begin_thread(stopped, check)
        while not stopped.is_set():
            try:
                item = waiting.popleft()
            except IndexError:
                return
            try:
                amounts.append(one(item))
            except cancellation.Cancelled:
                return
            except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
                failures.append(error)
                stopped.set()

    # No executor: Python waits for its threads when the process exits, however long a registry is silent.
    threads = [Thread(target=work, name=f"exchange-{number}", daemon=True) for number in range(min(jobs, len(ordered)))]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive():
                cancellation.checkpoint()
                thread.join(cancellation.POLL_SECONDS)
    except BaseException:
        stopped.set()
        raise
    if failures:
        raise failures[0]
    observe(ExchangeEnded(title))
    return sum(amounts, Amount())


def _amount(blob: Blob, way: TransferMethod, moved_bytes: int) -> Amount:
    match way:
        case TransferMethod.MOVED:
            return Amount(moved_bytes=moved_bytes)
        case TransferMethod.PRESENT:
            return Amount(present_bytes=blob.size_bytes)
        case TransferMethod.MOUNTED:
            return Amount(mounted_bytes=blob.size_bytes)
