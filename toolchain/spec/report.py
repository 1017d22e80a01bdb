"""Formats problems of a recipe: text for people, JSON for programs, annotations for GitHub Actions.

The text format follows miette and rattler-build: code and message, location, the line with a marker, the hint.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal
from unicodedata import east_asian_width

from mlxbuild.toolchain.spec.problems import Problem, Snippet

Format = Literal["text", "json", "github"]

LONGEST_LINE = 120


def render(problems: Sequence[Problem], form: Format = "text") -> str:
    """All problems in one format, without a final newline; no problems give an empty text (`[]` in JSON)."""
    if form == "json":
        return json.dumps([_plain(problem) for problem in problems], indent=2, ensure_ascii=False)
    if form == "github":
        return "\n".join(_annotation(problem) for problem in problems)
    return "\n\n".join(_text(problem) for problem in problems)


def _text(problem: Problem) -> str:
    margin = " " * len(str(problem.location.line or ""))
    lines = [f"{problem.level}[{problem.code}]: {_printable(problem.message)}"]
    if problem.snippet is None:
        lines.append(f"  ┌─ {problem.location}")
    else:
        line, before, width = _window(problem.snippet)
        mark = f"{_blank(before)}{'^' * width} {_printable(problem.snippet.note)}"
        lines += [
            f"{margin} ┌─ {problem.location}",
            f"{problem.location.line} │ {line}".rstrip(),
            f"{margin} │ {mark}".rstrip(),
        ]
    if problem.hint:
        lines.append(f"hint: {_printable(problem.hint)}")
    return "\n".join(lines)


def _window(snippet: Snippet) -> tuple[str, str, int]:
    """The visible part of the line, the text before the marker in it, and the marker's width in terminal cells."""
    line = _printable(snippet.line)
    start = snippet.column - 1
    width = max(1, snippet.width)
    if len(line) <= LONGEST_LINE:
        return line, line[:start], _cells(line[start : start + width]) or 1
    left = max(0, min(start - LONGEST_LINE // 3, len(line) - LONGEST_LINE))
    shown = line[left : left + LONGEST_LINE]
    head, tail = "…" if left else "", "…" if left + LONGEST_LINE < len(line) else ""
    marked = shown[start - left : start - left + width]
    return f"{head}{shown}{tail}", f"{head}{shown[: start - left]}", _cells(marked) or 1


def _cells(text: str) -> int:
    """The number of terminal cells of a text: wide East Asian characters take two."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)


def _blank(text: str) -> str:
    return " " * _cells(text)


def _printable(text: str) -> str:
    """The text on one line without control characters, so that a recipe cannot control the terminal."""
    text = text.replace("\t", " ")
    return text if text.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _plain(problem: Problem) -> dict[str, object]:
    snippet = problem.snippet
    return {
        "code": str(problem.code),
        "level": problem.level,
        "message": problem.message,
        "file": problem.location.file,
        "line": problem.location.line,
        "column": problem.location.column,
        "end_column": snippet.column + max(1, snippet.width) if snippet else None,
        "note": snippet.note if snippet else None,
        "hint": problem.hint,
    }


def _annotation(problem: Problem) -> str:
    """A workflow command (GitHub docs, "Workflow commands for GitHub Actions", Setting an error message)."""
    place = problem.location
    properties = {"file": place.file, "line": place.line, "col": place.column}
    if problem.snippet:
        properties["endColumn"] = problem.snippet.column + max(1, problem.snippet.width)
    properties["title"] = str(problem.code)
    written = ",".join(f"{key}={_property(str(value))}" for key, value in properties.items() if value is not None)
    said = [problem.message]
    if problem.snippet and problem.snippet.note:
        said.append(problem.snippet.note)
    if problem.hint:
        said.append(f"hint: {problem.hint}")
    return f"::{problem.level} {written}::{_data(chr(10).join(said))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
