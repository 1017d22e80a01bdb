"""Assembles the application that `mlxbuild serve` runs."""

from __future__ import annotations

from mlxbuild import __version__
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.residency.draft_models import DraftModels
from mlxbuild.runtime.residency.limits import Limits
from mlxbuild.runtime.residency.residency import Residency
from mlxbuild.runtime.server.application import Application
from mlxbuild.runtime.server.logger import log
from mlxbuild.runtime.server.settings import ServerSettings
from mlxbuild.serving.builder import ProcessBuilder
from mlxbuild.toolchain.interchange.completion import runnable


def assemble(
    home: Home, settings: ServerSettings, limits: Limits | None = None, drafts: DraftModels | None = None
) -> Application:
    """Assemble a server for a home's store. Call it in the running event loop.

    Raises:
        StoreFailure, StoreReadOnly: the store cannot be opened.
    """
    store = Store.open(home)

    def admit_to_run(reference: Reference, digest: Digest) -> Digest:
        return runnable(store, reference, digest, tell=lambda reason: log.warning("trust", reason=reason))

    residency = Residency.of(store, admit_to_run, limits, drafts=drafts)
    return Application(home, store, settings, residency, ProcessBuilder(store), __version__)
