"""Imports inside functions: they load what is slow to load and nothing else, as ADR 26 says."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOORS = ("mlxbuild", "toolchain", "runtime", "registry")

SLOW = frozenset(
    (
        *("mlx", "mlx_lm", "transformers", "tokenizers", "llguidance", "numpy", "huggingface_hub", "networkx"),
        *(
            "sanic",
            "httptools",
            "prometheus_client",
            "structlog",
            "rich",
            "requests",
            "urllib3",
            "oras",
            "cryptography",
        ),
        *("pydantic", "pydantic_core", "yaml", "jsonschema", "jsonschema_rs", "jsonschema_specifications"),
        *("cryptography", "referencing", "re2"),
    )
)
"""Packages that take long to load."""
SLOW_OF_PYTHON = frozenset(("asyncio", "difflib", "importlib.metadata", "readline", "traceback"))
SLOW_OF_OURS = frozenset(
    (
        *(f"mlxbuild.toolchain.{name}" for name in ("create", "prepare", "rebuild", "verification")),
        "mlxbuild.cli.completing",
    )
)
"""Modules of ours that load most of the toolchain, and one that no command needs."""
AFTER_SIGNALS = frozenset(("mlxbuild", "mlxbuild.cli.main"))
"""Modules whose imports wait until signals are handled."""


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "mlxbuild" else ("mlxbuild", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _files() -> Iterator[Path]:
    for floor in FLOORS:
        for path in (ROOT / floor).rglob("*.py"):
            if not any(parent.is_symlink() for parent in path.parents):
                yield path


MODULES = {_name(path): path for path in _files()}


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    for alias in node.names:
        inner = f"{node.module}.{alias.name}"
        yield inner if inner in MODULES else str(node.module)


def _imports(node: ast.AST, *, in_function: bool = False) -> Iterator[tuple[bool, int, str]]:
    """The imports below a node: whether they are inside a function, their line, and what they load."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield from ((in_function, child.lineno, name) for name in _imported(child))
        elif not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            yield from _imports(child, in_function=in_function or is_function)


@cache
def _imports_of(module: str) -> tuple[tuple[bool, int, str], ...]:
    return tuple(_imports(ast.parse(MODULES[module].read_text(encoding="utf-8"))))


@cache
def _loaded(module: str) -> frozenset[str]:
    """All that importing a module loads."""
    seen, pending = {module}, [module]
    while pending:
        for in_function, _, name in _imports_of(pending.pop()):
            if not in_function and name not in seen:
                seen.add(name)
                if name in MODULES:
                    pending.append(name)
    return frozenset(seen)


def _is_slow(name: str) -> bool:
    """Whether a module is slow to load, or loads one that is."""
    if name in SLOW_OF_OURS | SLOW_OF_PYTHON:
        return True
    loaded = _loaded(name) if name in MODULES else {name}
    return any(each.split(".")[0] in SLOW for each in loaded)


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_inside_functions_load_what_is_slow_and_nothing_else(floor: str) -> None:
    quick = [
        f"{MODULES[module].relative_to(ROOT)}:{line} imports {name}"
        for module in MODULES
        if MODULES[module].is_relative_to(ROOT / floor) and module not in AFTER_SIGNALS
        for is_inner, line, name in _imports_of(module)
        if is_inner and not _is_slow(name)
    ]
    assert not quick, f"{quick}: these belong to the top of their files"
