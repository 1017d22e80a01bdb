"""Prints the data of commands on stdout, as text or JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from mlxbuild.registry.core.printable import printable


def say(text: str = "") -> None:
    """Print one line of text."""
    sys.stdout.write(f"{text}\n")


def say_json(value: Any) -> None:
    """Print a value as JSON."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False) + "\n")


def say_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table with aligned columns; cells are escaped so that they cannot control the terminal."""
    lines = [tuple(headings), *[tuple(printable(cell, kept="") for cell in row) for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    for line in lines:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
