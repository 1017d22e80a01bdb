"""The application that `mlxbuild serve` runs."""

from __future__ import annotations

from mlxbuild.serving.builder import ProcessBuilder
from registry.digest import Digest
from registry.home import Home
from registry.reference import Reference
from registry.store.layout import Store
from registry.trust.policy import admit
from runtime.scheduler.drafts import Drafts
from runtime.scheduler.limits import Limits
from runtime.scheduler.residency import Residency
from runtime.server.application import Application
from runtime.server.logger import log
from runtime.server.settings import ServerSettings


def assemble(
    home: Home, settings: ServerSettings, limits: Limits | None = None, drafts: Drafts | None = None
) -> Application:
    """A server over a home's store. Call it where the event loop runs.

    Raises:
        StoreFailure, StoreReadOnly: there is no store to be had.
    """
    from mlxbuild import __version__

    store = Store.open(home)

    def admit_to_run(reference: Reference, digest: Digest) -> Digest:
        admit(store, reference, digest, tell=lambda reason: log.warning("trust", reason=reason))
        from toolchain.interchange.completion import completed

        return completed(store, digest)

    residency = Residency.of(store, admit_to_run, limits, drafts=drafts)
    return Application(home, store, settings, residency, ProcessBuilder(store), __version__)
