"""Floor 4: the front door. The public Python names are here; the command line is in `mlxbuild.cli`."""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["__version__", "load"]

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runtime.session import LoadedModel


def load(reference: str) -> LoadedModel:
    """Open a built model by its reference (`hello:int4`), without any server.

    Raises:
        UnknownReference: no artifact of that name is in the store.
        MlxbuildError: the model cannot be loaded.
    """
    from registry.home import Home
    from registry.reference import Reference
    from registry.store.layout import Store
    from runtime.session import LoadedModel
    from toolchain.interchange.completion import completed

    store = Store.open(Home.from_environment())
    return LoadedModel.open(store, completed(store, store.tags.resolve(Reference.parse(reference))))
