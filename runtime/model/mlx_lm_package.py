"""Importing mlx-lm's submodules without its front door. What is done with them lives with those who ask for them.

`mlx_lm/__init__.py` imports transformers, which takes about a second, and lowers the process's limit
of open files.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_lock = threading.RLock()


def submodule(name: str) -> ModuleType:
    """Import `mlx_lm.<name>` without running `mlx_lm/__init__.py`.

    A package object stands in for `mlx_lm` in `sys.modules` until somebody asks it for something that only the
    front door defines (`from mlx_lm import load`); then it becomes the real package, in place.

    Raises:
        ModuleNotFoundError: mlx-lm is not installed, or has no such submodule.
    """
    with file_limit_kept():
        if "mlx_lm" not in sys.modules:
            sys.modules["mlx_lm"] = _package_without_front_door()
        return importlib.import_module(f"mlx_lm.{name}")


@contextmanager
def file_limit_kept() -> Iterator[None]:
    """While inside, nobody changes resource limits: `import mlx_lm.utils` sets RLIMIT_NOFILE to 2048/4096.

    Undoing it afterwards is no way out: without privileges a lowered hard limit stays low for the process.
    """
    with _lock:
        real = resource.setrlimit
        resource.setrlimit = lambda *_: None
        try:
            yield
        finally:
            resource.setrlimit = real


def _package_without_front_door() -> ModuleType:
    spec = importlib.machinery.PathFinder.find_spec("mlx_lm")
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError("No module named 'mlx_lm'", name="mlx_lm")
    loader = spec.loader
    package = importlib.util.module_from_spec(spec)

    def load_front_door(name: str) -> Any:
        if name.startswith("__") and name not in ("__version__", "__all__"):
            raise AttributeError(f"module 'mlx_lm' has no attribute {name!r}")
        with file_limit_kept():
            if package.__dict__.pop("__getattr__", None) is not None:
                loader.exec_module(package)
        return getattr(package, name)

    package.__dict__["__getattr__"] = load_front_door
    return package
