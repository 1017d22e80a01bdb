"""The lines of pushes and pulls: few of them, with what is done of how much."""

from __future__ import annotations

from mlxbuild.cli.transfer_lines import TransferLines
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.oci.exchange.progress import (
    BlobAdvanced,
    BlobEnded,
    ExchangeBegan,
    ExchangeEnded,
    NamedBlob,
    TransferMethod,
)


def item(name: str, size_bytes: int) -> NamedBlob:
    return NamedBlob(Blob(Digest.of_bytes(name.encode()), size_bytes), name)


def test_a_line_every_two_seconds_and_one_at_the_end() -> None:
    said: list[str] = []
    now = 0.0
    lines = TransferLines(said.append, lambda: now)
    files = [item(f"part-{number}", 1_000_000) for number in range(44)]
    lines.handle(ExchangeBegan("pushing hello", 44, 44_000_000))
    for number, each in enumerate(files):
        now = number * 0.1
        way = TransferMethod.PRESENT if number < 4 else TransferMethod.MOVED
        if way is TransferMethod.MOVED:
            lines.handle(BlobAdvanced(each, 1_000_000))
        lines.handle(BlobEnded(each, way, 1_000_000 if way is TransferMethod.MOVED else 0))
    lines.handle(ExchangeEnded("pushing hello"))
    assert said == [
        "pushing hello: 44 files, 44 MB",
        "20/44 files, 21 MB of 44 MB",
        "40/44 files, 41 MB of 44 MB",
        "44 files: 40 transferred, 40 MB; 4 there already",
    ]
