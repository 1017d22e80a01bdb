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
    for line in table_lines(headings, rows):
        say(line)


def table_lines(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table with aligned columns, its headings first."""
    return _aligned([tuple(headings), *_escaped(rows)], [0] * len(headings))


class StreamedTable:
    """A table that is printed as its rows come; columns are as wide as those before them."""

    def __init__(self, headings: Sequence[str]) -> None:
        self._pending = [tuple(headings)]
        self._widths = [0] * len(headings)

    def add(self, rows: Sequence[Sequence[str]]) -> None:
        """Print more rows, the headings before the first ones."""
        if rows:
            lines, self._pending = [*self._pending, *_escaped(rows)], []
            for line in _aligned(lines, self._widths):
                say(line)
            sys.stdout.flush()


def _escaped(rows: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    return [tuple(printable(cell, kept="") for cell in row) for row in rows]


def _aligned(lines: Sequence[Sequence[str]], widths: list[int]) -> list[str]:
    """The lines with their cells aligned; `widths` grow to what they need."""
    widths[:] = [max(width, *(len(line[column]) for line in lines)) for column, width in enumerate(widths)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
