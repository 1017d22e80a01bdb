"""Runs Python with clients of others, which are installed once from the requirements beside the script.

Each has an environment of its own, apart from that of the tests: neither bounds what is in the other. What is asked for
stands in `requirements.in`; the rest is what `uv pip compile --universal --python-version 3.11` chose for it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tests.clients import installing, telling


def run(script: Path, *arguments: str, environment: dict[str, str] | None = None) -> Any:
    """Run a script; what it prints is JSON, and is returned."""
    packages = {"PYTHONPATH": str(installed(script.parent))}
    command = [sys.executable, "-S", str(script)]  # -S: the packages of the tests are not there
    return telling.told(*command, *arguments, environment=packages | (environment or {}))


def installed(source: Path) -> Path:
    """The folder with the packages that `requirements.txt` in `source` names, all of them."""
    requirements = source / "requirements.txt"

    def fill(folder: Path) -> None:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        into = ["--no-deps", "--upgrade", "--target", str(folder)]
        installing.command(*pip, *into, "-r", str(requirements), within=folder)

    return installing.folder(requirements.read_bytes() + sys.version.encode(), fill)
