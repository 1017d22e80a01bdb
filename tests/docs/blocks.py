"""Reads the blocks of commands on the pages: what is run, what it promises to print, and what is not run and why.

A page is Markdown with these conventions:

- ` ```sh ` holds commands that succeed, and promises nothing of their output.
- ` ```console ` holds commands after `$ `, each followed by all that it prints. `…` stands for any text in a line, and
  alone on a line for any lines. A command may fail if an `error[…]` is shown.
- ` ```python ` with `import mlxbuild` is a program that succeeds.
- ` ```yaml ` that begins with `# NAME.yaml` is that file.
- `<!-- not run: REASON -->` above a block says why tests cannot run it.
- `<!-- setup: COMMAND -->` does what a reader has done before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "recipes" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
)
_PART = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+) -->\n)?```(?P<language>[^\n]*)\n(?P<text>.*?)^```$"
    r"|^<!-- setup: (?P<setup>.*?) -->$",
    re.MULTILINE | re.DOTALL,
)
_FILE = re.compile(r"# ([\w.-]+\.yaml)\n")


@dataclass(frozen=True)
class Command:
    """A command line, and all that it promises to print; None promises nothing."""

    line: int
    text: str
    output: str | None = None

    @property
    def fails(self) -> bool:
        """Whether the page shows that it ends with an error."""
        return "error[" in (self.output or "")


@dataclass(frozen=True)
class Block:
    """A fenced block or a hidden preparation of a page."""

    line: int
    language: str
    text: str
    reason: str | None
    """Why it is not run."""

    @property
    def is_program(self) -> bool:
        """Whether it has to be run, or to say why not."""
        return self.language in ("sh", "console") or (self.language == "python" and "import mlxbuild" in self.text)

    def commands(self) -> Iterator[Command]:
        """What to run, in order."""
        if self.language == "python":
            yield Command(self.line, f"python - <<'END'\n{self.text}END")
        elif self.language == "console":
            yield from _with_outputs(self.text, self.line)
        elif self.language in ("sh", "setup"):
            yield from _without_outputs(self.text, self.line)
        elif self.language == "yaml" and (named := _FILE.match(self.text)):
            yield Command(self.line, f"cat > {named[1]} <<'END'\n{self.text}END")


def blocks(page: Path) -> list[Block]:
    """All blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for part in _PART.finditer(text):
        line = text.count("\n", 0, part.start()) + 1
        if part["setup"] is not None:
            found.append(Block(line, "setup", f"{part['setup']}\n", None))
        else:
            line += part["reason"] is not None
            found.append(Block(line, part["language"].strip(), part["text"], part["reason"]))
    return found


def _without_outputs(text: str, line: int) -> Iterator[Command]:
    for number, command in enumerate(text.splitlines(), line + 1):
        if command.partition("#")[0].strip():
            yield Command(number, command)


def _with_outputs(text: str, line: int) -> Iterator[Command]:
    starts = [*re.finditer(r"^\$ (.*)\n", text, re.MULTILINE)]
    ends = [*(start.start() for start in starts[1:]), len(text)]
    for start, end in zip(starts, ends, strict=True):
        yield Command(line + text.count("\n", 0, start.start()) + 1, start[1], text[start.end() : end])
