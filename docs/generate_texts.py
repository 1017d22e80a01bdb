"""Writes docs/texts.txt, every text of the code that people may read, so that a review sees which of them change.

Run: `python docs/generate_texts.py`. Texts are all strings of several words that are no docstrings: messages, hints,
help and notes. `…` stands for what is filled in. How they look in use is held by the tests of what says them.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).with_name("texts.txt")
FLOORS = ("registry", "runtime", "toolchain", "mlxbuild")
_ROOT = Path(__file__).parent.parent


def page() -> str:
    """Every text on a line of its own, each once, in order of the alphabet."""
    files = (file for floor in FLOORS for file in (_ROOT / floor).rglob("*.py"))
    texts = {text for file in files for text in _texts(ast.parse(file.read_text(encoding="utf-8")))}
    return "".join(f"{text}\n" for text in sorted(texts, key=lambda text: (text.casefold(), text)))


def _texts(tree: ast.Module) -> Iterator[str]:
    passed_over = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            passed_over.add(node.value)  # docstrings
        elif isinstance(node, ast.JoinedStr):
            passed_over.update(node.values)
    for node in ast.walk(tree):
        text = "" if node in passed_over else _text(node)
        if " " in text.strip() and any(letter.isalpha() for letter in text):
            yield json.dumps(text, ensure_ascii=False)[1:-1]


def _text(node: ast.AST) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(str(it.value) if isinstance(it, ast.Constant) else "…" for it in values)
    return ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
