"""Real file systems that are small, full or read-only, for tests of what a disk can do to a store."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests import real_parts


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """A file system of that size at `place`, which is made."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        real_parts.missing("a small disk", "mounting one needs Linux, root and CAP_SYS_ADMIN")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def resize(disk: Path, size: str) -> None:
    """Give a small disk another size."""
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)


def make_read_only(disk: Path) -> None:
    """Have a small disk take no writes."""
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)


def fill(disk: Path) -> Path:
    """Leave no room for a single byte; deleting the file that is returned gives it back."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for piece in (bytes(64 * 1024), b"x"):
            with suppress(OSError):
                while True:
                    file.write(piece)
    return ballast
