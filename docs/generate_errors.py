"""Writes docs/errors.md from the error classes and the hints in the code. Run: `python docs/generate_errors.py`."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path

import mlxbuild
from mlxbuild.registry.core.errors import Kind, MlxbuildError
from mlxbuild.toolchain.spec.problems import Code

PAGE = Path(__file__).with_name("errors.md")
FLOORS = ("registry", "runtime", "toolchain", "mlxbuild")
_ROOT = Path(__file__).parent.parent
_TOP = """\
# Errors

Generated from the error classes and their hints; `python docs/generate_errors.py` updates it.

Every error says what happened, where (a file with line and column, a step, a path) and what to do. `mlxbuild -v` adds
the traceback. Codes are never renamed.

| exit code | meaning |
| --- | --- |
| 0 | success |
| 1 | a bug in mlxbuild |
| 2 | the recipe, a name or an option is wrong |
| 3 | a step failed on sound input, and would again |
| 4 | a gate failed |
| 5 | the network, a registry or the Hub failed; trying again may help |
| 6 | this machine: disk, memory, permissions |
| 7 | the lock is missing, stale or damaged |
| 8 | something ran although `--expect-cached` was given |
| 9 | a rebuild gave different bytes |
| 10 | content does not match its digest, or is not trusted |
| 130 | interrupted; finished actions stay cached |
| 141 | the output was closed |
| 143 | terminated by SIGTERM; finished actions stay cached |

`mlxbuild serve` exits with 0 after one SIGINT or SIGTERM, and with 130 or 143 if a second signal or its time limit
ended it. A [server](serving.md#operations) also answers with the codes `bug` (details are in its log) and `http`
(refused by its HTTP library).
"""
_KIND_CODES = """\
A few errors have no code of their own and bear that of their kind: `user`, `step`, `infrastructure`, `environment` or
`trust`, and `bug` where mlxbuild itself is wrong. Their message says what happened; the table of their kind below says
what to do about it. Please report a `bug`, with what `mlxbuild -v` prints.
"""
_KINDS = {
    Kind.USER: ("What you wrote", "Correct the recipe, the name or the option."),
    Kind.STEP: ("A step failed", "The same input fails again: change the recipe or the source."),
    Kind.INFRASTRUCTURE: ("Network", "Try again; finished work is kept."),
    Kind.ENVIRONMENT: ("This machine", "Free space or repair what the message names, and run the command again."),
    Kind.TRUST: ("Content that cannot be trusted", "Do not use it. Damaged content is quarantined and built again."),
}
_WORDS = re.compile(r"\s+")


def page() -> str:
    """The whole page."""
    classes = sorted(error_classes(), key=lambda error: (error.code, error.exit_code, error.__module__))
    leaves = [tuple(same) for _, same in groupby(classes, key=lambda error: (error.code, error.exit_code))]
    hints = _hints()
    parts = [_TOP, _KIND_CODES]
    for kind, (title, advice) in _KINDS.items():
        parts += [f"## {title}", advice, "| code | exit code | meaning | what to do |\n| --- | --- | --- | --- |"]
        parts[-1] += "".join(_row(leaf, hints) for leaf in leaves if leaf[0].kind is kind)
    parts += [
        "## Mistakes in recipes",
        "`mlxbuild lint` and every command that reads a recipe report them all at once.",
    ]
    meanings = _meanings()
    rows = "".join(f"\n| `{code.value}` | {meanings[code.name]} |" for code in Code)
    parts.append(f"| code | meaning |\n| --- | --- |{rows}")
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def error_classes() -> set[type[MlxbuildError]]:
    """Every class of the error tree that has a code of its own or another exit code than its parent."""
    for module in pkgutil.walk_packages(mlxbuild.__path__, "mlxbuild."):
        importlib.import_module(module.name)
    return {
        error
        for error in _below(MlxbuildError)
        if "code" in vars(error) and error.__module__ != "mlxbuild.registry.core.errors" and _is_declared(error)
    }


def _is_declared(error: type[MlxbuildError]) -> bool:
    """Whether it stands in a module; some are made while a program runs, for errors of other processes."""
    return getattr(sys.modules[error.__module__], error.__name__, None) is error


def _below(error: type[MlxbuildError]) -> Iterator[type[MlxbuildError]]:
    for leaf in error.__subclasses__():
        if leaf.__module__.startswith("mlxbuild."):
            yield leaf
            yield from _below(leaf)


def _row(classes: tuple[type[MlxbuildError], ...], hints: Mapping[str, list[str]]) -> str:
    """One code; classes that share it tell their meanings one after the other."""
    meanings = [_cell((error.__doc__ or "").strip().split("\n\n")[0]) for error in classes]
    told = dict.fromkeys(_cell(hint) for error in classes for hint in hints.get(error.__name__, ()))
    cells = (f"`{classes[0].code}`", str(classes[0].exit_code), " ".join(meanings), " · ".join(told))
    return "\n| " + " | ".join(cells) + " |"


def _cell(text: str) -> str:
    return _WORDS.sub(" ", text).strip().replace("|", "\\|")


def _hints() -> dict[str, list[str]]:
    """Name of an error class to the hints that the code gives with it, each once; `…` stands for what is filled in."""
    found: dict[str, list[str]] = defaultdict(list)
    for floor in FLOORS:
        for file in sorted((_ROOT / floor).rglob("*.py")):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            texts = _constants(tree)
            for node in ast.walk(tree):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                    continue
                for word in node.keywords:
                    if word.arg == "hint":
                        found[node.func.id] += [it for it in _texts(word.value, texts) if it not in found[node.func.id]]
    return found


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    simple = [node for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)]
    return {node.targets[0].id: node.value for node in simple if isinstance(node.targets[0], ast.Name)}


def _texts(node: ast.expr, texts: dict[str, ast.expr]) -> Iterator[str]:
    match node:
        case ast.Constant(value=str() as text):
            yield text
        case ast.JoinedStr(values=values):
            yield "".join(str(it.value) if isinstance(it, ast.Constant) else "…" for it in values)
        case ast.IfExp(body=one, orelse=other):
            yield from _texts(one, texts)
            yield from _texts(other, texts)
        case ast.BoolOp(values=values):
            for value in values:
                yield from _texts(value, texts)
        case ast.Name(id=name) if name in texts:
            yield from _texts(texts[name], {})


def _meanings() -> dict[str, str]:
    """Name of each code of a recipe's mistakes to the sentence below it."""
    tree = ast.parse((_ROOT / "toolchain/spec/problems.py").read_text(encoding="utf-8"))
    codes = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Code")
    found: dict[str, str] = {}
    name = ""
    for node in codes.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and name:
            found[name] = str(node.value.value)
    return found


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
