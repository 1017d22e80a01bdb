"""Runs Rust programs with clients of others, which are built once from the manifest and its lock file beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests import real_tools
from tests.clients import installing, telling


def run(source: Path, *arguments: str) -> Any:
    """Run the program `turns` of the package in the folder `source`; what it prints is JSON, and is returned."""
    return telling.told(str(built(source) / "debug" / "turns"), *arguments)


def built(source: Path) -> Path:
    """The folder with what cargo built."""
    cargo = real_tools.find("cargo")

    def fill(folder: Path) -> None:
        manifest = str(source / "Cargo.toml")
        installing.command(
            cargo,
            "build",
            "--quiet",
            "--locked",
            "--manifest-path",
            manifest,
            "--target-dir",
            str(folder),
            within=folder,
        )

    pinned = [source / name for name in ("Cargo.toml", "Cargo.lock", "src/main.rs")]
    return installing.folder(b"".join(path.read_bytes() for path in pinned), fill)
