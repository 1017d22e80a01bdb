"""Which code of mlx-lm computes a model, by content: a release that leaves it as it was changes no result.

Imports are followed by the text of the sources, without running any.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from mlxbuild.runtime.mlx_lm.package import package_folder

_FROM = r"^[ \t]*from[ \t]+([.\w]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n#]+)"
_IMPORT = re.compile(rf"{_FROM}|^[ \t]*import[ \t]+([\w., \t]+)", re.MULTILINE)
_BLOCKS = ("models.switch_layers", "models.bitlinear_layers")
"""What weights are arranged with, whatever the architecture."""


def weights_code(architecture: str) -> str:
    """The digest of the code that arranges weights: the architecture's module, and all that it imports of mlx-lm.

    Args:
        architecture: The module's name below `mlx_lm.models`.
    """
    return _digest(_closure((f"models.{architecture}", *_BLOCKS)))


def model_code(architecture: str) -> str:
    """The digest of the code that computes such a model: with its KV caches, and what loads it."""
    return _digest({*_closure((f"models.{architecture}", *_BLOCKS, "models.cache")), "utils"})


def template_code() -> str:
    """The digest of the code that tells from a chat template how a model writes thoughts and calls of tools."""
    parsers = (f"tool_parsers.{file.stem}" for file in (package_folder() / "tool_parsers").glob("*.py"))
    return _digest({"tokenizer_utils", *parsers})


def _digest(modules: Iterable[str]) -> str:
    hasher = hashlib.sha256()
    for module in sorted(modules):
        source = _source(module)
        hasher.update(f"{module} {len(source)}\n".encode() + source)
    return f"sha256:{hasher.hexdigest()}"


def _closure(modules: Iterable[str]) -> frozenset[str]:
    """Modules of mlx-lm with all that they import of it, at the top or within functions."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found and _file(module).exists():
            found.add(module)
            waiting += _imports(module)
    return frozenset(found)


@functools.cache
def _imports(module: str) -> tuple[str, ...]:
    return tuple(_imported(module, _source(module).decode("utf-8", "replace")))


def _imported(module: str, text: str) -> Iterator[str]:
    for statement in _IMPORT.finditer(text):
        origin, names, plain = statement.groups()
        if plain is not None:
            whole = [each.split()[0] for each in plain.split(",") if each.strip()]
            yield from (name.removeprefix("mlx_lm.") for name in whole if name.startswith("mlx_lm."))
            continue
        parent = _absolute(module, origin)
        if parent is not None:
            yield parent
            words = (each.split()[0] for each in names.strip("() \n").split(",") if each.strip())
            yield from (f"{parent}.{word}".lstrip(".") for word in words)


def _absolute(module: str, origin: str) -> str | None:
    """The module of mlx-lm that `from <origin> import` means within another one; None where it is not of mlx-lm."""
    name = origin.lstrip(".")
    if levels := len(origin) - len(name):
        parents = module.split(".")[:-levels] if levels <= module.count(".") + 1 else []
        return ".".join((*parents, name)).strip(".")
    return name.removeprefix("mlx_lm").lstrip(".") if name.partition(".")[0] == "mlx_lm" else None


@functools.cache
def _source(module: str) -> bytes:
    return _file(module).read_bytes()


def _file(module: str) -> Path:
    place = package_folder().joinpath(*module.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
