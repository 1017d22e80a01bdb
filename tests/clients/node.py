"""Runs JavaScript with clients of others, which are installed once from the lock file beside the script."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from tests import real_tools
from tests.clients import installing, telling

HERE = Path(__file__).parent


def run(script: Path, *arguments: str, environment: dict[str, str] | None = None) -> Any:
    """Run an ES module; what it prints is JSON, and is returned.

    `import` finds the packages of `package.json` because the script is run from a copy beside them.
    """
    node = real_tools.find("node")
    folder = installed(script.parent)
    copy = folder / script.name
    if not copy.exists() or copy.read_bytes() != script.read_bytes():
        temporary = folder / f"{script.name}.{os.getpid()}"
        shutil.copyfile(script, temporary)
        temporary.replace(copy)
    return telling.told(node, str(copy), *arguments, environment=environment)


def installed(source: Path) -> Path:
    """The folder with the `node_modules` that the lock file in `source` names."""
    npm = real_tools.find("npm")

    def fill(folder: Path) -> None:
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(source / name, folder / name)
        installing.command(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", within=folder)

    return installing.folder((source / "package-lock.json").read_bytes(), fill)
