"""Imports submodules of mlx-lm without running `mlx_lm/__init__.py`. They are used elsewhere.

`mlx_lm/__init__.py` imports transformers, which takes about a second, and lowers the process's limit of open files.
"""

from __future__ import annotations

import ast
import builtins
import dis
import functools
import importlib
import importlib.machinery
import importlib.util
import resource
import sys
import threading
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, cast

from mlxbuild.registry.core.errors import EnvironmentFailure

_USED = ("load_model", "dequantize_model", "get_total_parameters")
"""Functions of `mlx_lm.utils` that are called."""
_lock = threading.RLock()
_parsing = threading.Lock()


class MlxLmNotSupported(EnvironmentFailure):
    """The installed mlx-lm is made otherwise than the releases that this mlxbuild knows."""

    code = "mlx-lm-not-supported"


def submodule(name: str) -> ModuleType:
    """Import `mlx_lm.<name>` without running `mlx_lm/__init__.py`.

    A placeholder package stands for `mlx_lm` in `sys.modules` until a name is used that only `__init__.py` defines
    (`from mlx_lm import load`); then it becomes the real package, in place.

    Raises:
        ModuleNotFoundError: mlx-lm is not installed, or has no such submodule.
    """
    with file_limit_kept():
        if "mlx_lm" not in sys.modules:
            sys.modules["mlx_lm"] = _package_without_init()
        return importlib.import_module(f"mlx_lm.{name}")


@contextmanager
def file_limit_kept() -> Iterator[None]:
    """Ignore changes of resource limits in this context: `import mlx_lm.utils` sets RLIMIT_NOFILE to 2048/4096.

    It could not be undone afterwards: a lowered hard limit cannot be raised without privileges.
    """
    with _lock:
        real = resource.setrlimit
        resource.setrlimit = lambda *_: None
        try:
            yield
        finally:
            resource.setrlimit = real


@functools.cache
def utils() -> ModuleType:
    """`mlx_lm.utils`: the real one if it is imported already, otherwise its source without the slow imports.

    This omits its imports from mlx-lm's tokenizer modules and the Hub, and its change of the file limit. Its functions
    for loading and quantizing need none of them.

    Raises:
        ModuleNotFoundError: mlx-lm is not installed.
    """
    if "mlx_lm.utils" in sys.modules:
        return sys.modules["mlx_lm.utils"]
    submodule("models")  # so that imports inside its functions find their package
    file = package_folder() / "utils.py"
    kept = [statement for statement in _statements(file) if _is_light(statement)]
    module = ModuleType("mlx_lm.utils")
    module.__package__ = "mlx_lm"
    flags = annotations.compiler_flag
    exec(compile(ast.Module(kept, []), str(file), "exec", flags=flags, dont_inherit=True), module.__dict__)
    for name in _USED:
        _require_globals(module, name, set())
    return module


def _require_globals(module: ModuleType, name: str, seen: set[str]) -> None:
    """Refuse a function that needs what was left out, in itself or in a function of the module that it calls."""
    function = module.__dict__.get(name)
    if name in seen or not isinstance(function, FunctionType) or function.__globals__ is not module.__dict__:
        return
    seen.add(name)
    for used in _globals(function.__code__):
        if used not in module.__dict__ and not hasattr(builtins, used):
            raise MlxLmNotSupported(
                f"mlx_lm.utils.{name} needs `{used}`, which is not taken from this release of mlx-lm",
                hint="install a release of mlx-lm that mlxbuild asks for: `pip install --upgrade mlxbuild`",
            )
        _require_globals(module, used, seen)


def _globals(code: CodeType) -> Iterator[str]:
    yield from (step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL")
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _globals(constant)


def _is_light(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.ImportFrom):
        return statement.level == 0 and statement.module not in ("transformers", "huggingface_hub")
    return isinstance(statement, ast.Import | ast.Assign | ast.AnnAssign | ast.FunctionDef | ast.ClassDef)


def tables(module: str, *names: str) -> dict[str, Any]:
    """Top-level tables of `mlx_lm.<module>`, taken from its source.

    For modules whose import would load transformers. Nothing else of the module is executed.

    Raises:
        ModuleNotFoundError: mlx-lm is not installed.
        LookupError: the module does not define one of the names.
    """
    file = package_folder() / f"{module}.py"
    wanted = [statement for statement in _statements(file) if _defines(statement, names)]
    found: dict[str, Any] = {}
    exec(compile(ast.Module(wanted, []), str(file), "exec"), found)
    _require(module, names, found)
    return found


def functions(module: str, *names: str) -> dict[str, FunctionType]:
    """Functions of `mlx_lm.<module>` that use nothing but each other, and have no default arguments.

    For modules whose import would load transformers. They are taken from the compiled module, as parsing a long source
    takes longer than a small build.

    Raises:
        ModuleNotFoundError: mlx-lm is not installed.
        LookupError: the module does not define one of the names.
    """
    found: dict[str, Any] = {}
    for constant in _compiled(module).co_consts:
        if isinstance(constant, CodeType) and constant.co_name in names:
            found[constant.co_name] = FunctionType(constant, found)
    _require(module, names, found)
    return found


def _require(module: str, names: tuple[str, ...], found: Container[str]) -> None:
    if missing := [name for name in names if name not in found]:
        raise LookupError(f"mlx_lm.{module} does not define {', '.join(missing)}")


def _statements(file: Path) -> tuple[ast.stmt, ...]:
    with _parsing:  # CPython 3.11 counts recursion depth over all parsing threads, and fails if they overlap
        return tuple(ast.parse(file.read_text()).body)


def _compiled(module: str) -> CodeType:
    name = f"mlx_lm.{module}"
    loader = importlib.machinery.SourceFileLoader(name, str(package_folder() / f"{module}.py"))
    with _parsing:
        return cast(CodeType, loader.get_code(name))


@functools.cache
def package_folder() -> Path:
    """The folder in which mlx-lm is installed. Imports nothing.

    Raises:
        ModuleNotFoundError: mlx-lm is not installed.
    """
    spec = importlib.util.find_spec("mlx_lm")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'mlx_lm'", name="mlx_lm")
    return Path(spec.origin).parent


def _defines(statement: ast.stmt, names: tuple[str, ...]) -> bool:
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    return any(isinstance(target, ast.Name) and target.id in names for target in targets)


def _package_without_init() -> ModuleType:
    spec = importlib.machinery.PathFinder.find_spec("mlx_lm")
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError("No module named 'mlx_lm'", name="mlx_lm")
    loader = spec.loader
    package = importlib.util.module_from_spec(spec)

    def load_init(name: str) -> Any:
        if name.startswith("__") and name not in ("__version__", "__all__"):
            raise AttributeError(f"module 'mlx_lm' has no attribute {name!r}")
        with file_limit_kept():
            if package.__dict__.pop("__getattr__", None) is not None:
                loader.exec_module(package)
        return getattr(package, name)

    package.__dict__["__getattr__"] = load_init
    return package
