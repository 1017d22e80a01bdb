"""What commands print: data on stdout, as text or JSON. Progress and errors go to stderr elsewhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from mlxbuild.registry.core.printable import printable


def say(text: str = "") -> None:
    """One line of data."""
    sys.stdout.write(f"{text}\n")


def say_json(value: Any) -> None:
    """Data for a program."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=False) + "\n")


def say_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Aligned columns under headings; what is in a cell stays there, and does not steer the terminal."""
    lines = [tuple(headings), *[tuple(printable(cell, kept="") for cell in row) for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    for line in lines:
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
