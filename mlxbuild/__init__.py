"""The top layer: the public Python API. The command line is in `mlxbuild.cli`.

Everything is imported lazily, because a command installs its signal handlers before anything else is loaded.
"""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = [
    "MlxbuildError",
    "Recipe",
    "Store",
    "__version__",
    "create",
    "load",
    "open_store",
    "pull",
    "push",
    "read_recipe",
    "verify",
]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mlxbuild.api import create, load, open_store, pull, push, read_recipe, verify
    from mlxbuild.registry.core.errors import MlxbuildError
    from mlxbuild.registry.store.layout import Store
    from mlxbuild.toolchain.spec.recipe import Recipe

_ELSEWHERE = {
    "MlxbuildError": "mlxbuild.registry.core.errors",
    "Recipe": "mlxbuild.toolchain.spec.recipe",
    "Store": "mlxbuild.registry.store.layout",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_ELSEWHERE.get(name, "mlxbuild.api")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
