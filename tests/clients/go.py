"""Runs Go programs with clients of others, which are built once from the module and its sums beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests import real_tools
from tests.clients import installing, telling


def run(source: Path, *arguments: str) -> Any:
    """Run the program whose module is the folder `source`; what it prints is JSON, and is returned."""
    return telling.told(str(built(source) / "program"), *arguments)


def built(source: Path) -> Path:
    """The folder with the program."""
    go = real_tools.find("go")

    def fill(folder: Path) -> None:
        # The flags are those of `make interop`, so that Go's own packages are compiled once for both.
        flags = ["-trimpath", "-buildvcs=false", "-ldflags=-s -w"]
        installing.command(go, "build", *flags, "-o", str(folder / "program"), ".", within=source)

    return installing.folder(b"".join((source / name).read_bytes() for name in ("go.mod", "go.sum", "main.go")), fill)
