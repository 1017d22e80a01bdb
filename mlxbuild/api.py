"""The Python API for recipes and artifacts: create, verify, push, pull and load. `import mlxbuild` exports it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlxbuild.configuration.ci import in_ci
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.oci.exchange.destination import destination
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.leases import shared
from mlxbuild.toolchain.events.journal import Journal, new_run_name
from mlxbuild.toolchain.events.stream import EventStream, Observer
from mlxbuild.toolchain.interchange.completion import runnable
from mlxbuild.toolchain.options import BuildOptions
from mlxbuild.toolchain.spec.discovery import RECIPE_NAME
from mlxbuild.toolchain.spec.recipe import Recipe

if TYPE_CHECKING:
    from mlxbuild.registry.oci.exchange.pull import Pulled
    from mlxbuild.registry.oci.exchange.push import Pushed
    from mlxbuild.runtime.loaded_model import LoadedModel
    from mlxbuild.toolchain.events.model import Event
    from mlxbuild.toolchain.options import BuildOptions
    from mlxbuild.toolchain.publish import Built
    from mlxbuild.toolchain.spec.recipe import Recipe
    from mlxbuild.toolchain.verification import Verification


def open_store(home: str | os.PathLike[str] | None = None) -> Store:
    """Open the store of a home, created if missing; the default is `$MLXBUILD_HOME`, else `~/.mlxbuild`.

    Raises:
        StoreFailure, StoreReadOnly: it cannot be used.
    """
    return Store.open(Home.from_environment() if home is None else Home(Path(home).absolute()))


def read_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Read a recipe, given by its file or its folder, and resolve its variants. Nothing is fetched.

    Raises:
        SpecError: it cannot be read or has mistakes, all of which are in `problems`.
    """
    from mlxbuild.toolchain.spec.load import load as load_recipe

    place = Path(path)
    return load_recipe(place / RECIPE_NAME if place.is_dir() else place)


def create(
    recipe: str | os.PathLike[str] | Recipe,
    *,
    variants: Iterable[str] = (),
    locked: bool = False,
    store: Store | None = None,
    options: BuildOptions | None = None,
    observe: Callable[[Event], None] = lambda event: None,
) -> tuple[Built, ...]:
    """Build a recipe, as `mlxbuild create` does: lock it, run uncached actions, run its gates, and set its tags.

    Args:
        recipe: Its file, its folder, or the result of `read_recipe`.
        variants: The variants to build; all by default.
        locked: Treat a missing or stale lock file as an error, instead of writing a new one.
        store: The store to build into; by default that of the home.
        options: How to build. They do not change the results.
        observe: Called with each event, from threads of the build, one at a time.

    Returns:
        The result of each variant, all of which are built and have passed their gates.

    Raises:
        SpecError, StaleLock, LockMissing, UnknownVariant: the recipe cannot be built.
        MlxbuildError: the first error of the build. What was built before it stays in the cache.
    """
    from mlxbuild.toolchain.create import create as build
    from mlxbuild.toolchain.prepare import LockMode, prepare

    options = options or BuildOptions()
    options = replace(options, in_ci=options.in_ci or in_ci())
    store, run = store or open_store(), new_run_name()
    with shared(store.home):
        read = recipe if isinstance(recipe, Recipe) else read_recipe(recipe)
        prepared = prepare(read, store, LockMode.LOCKED if locked else LockMode.UPDATE, notice=observe)
        stream = EventStream([Observer(observe), Journal(store.home, run)])
        try:
            report = build(prepared.variants(variants), store, stream, run=run, options=options)
        finally:
            stream.close()
    if report.errors:
        raise report.errors[0]
    return report.artifacts


def verify(reference: str, *, store: Store | None = None) -> Verification:
    """Verify every blob of an artifact, and that its recipe, lock and files agree. Damaged blobs are quarantined.

    Raises:
        UnknownReference: no artifact of that name is in the store.
        VerificationFailed: the artifact has problems.
    """
    from mlxbuild.toolchain.verification import verify_artifact

    store = store or open_store()
    with shared(store.home):
        verification = verify_artifact(store, store.tags.resolve(Reference.parse(reference)))
    verification.require(reference)
    return verification


def push(reference: str, target: str | None = None, *, store: Store | None = None, force: bool = False) -> Pushed:
    """Push an artifact, and the evidence attached to it, to a registry.

    Args:
        reference: Its name in the store.
        target: `host/name`, with `:tag` if the tag should differ; by default the artifact's own name, at its host or
            the default registry.
        store: The store that holds it; by default that of the home.
        force: Move even a tag that contains a version and names another artifact there.

    Raises:
        UnknownReference: no artifact of that name is in the store.
        NothingToPush: it is named by a digest, and there is no target.
        NoRegistry, RegistryFailure: no registry is configured, or the push failed.
        VersionTagMoves: a tag that contains a version would move.
    """
    from mlxbuild.registry.oci.exchange.push import push as send

    store = store or open_store()
    source, goal = Reference.parse(reference), None if target is None else Reference.parse(target)
    with shared(store.home):
        to = destination(store, source, store.tags.resolve(source), goal)
        settings = Settings.load(store.home)
        return send(store, to.digest, to.repository, settings=settings, tags=to.tags, force=force)


def pull(reference: str, *, store: Store | None = None) -> Pulled:
    """Pull an artifact, and the evidence attached to it, into the store, verified while it streams.

    Args:
        reference: `host/name:tag` or `host/name@sha256:…`; without a host it is at the default registry.
        store: The store to pull into; by default that of the home.

    Raises:
        NoRegistry, RegistryFailure, TransferCorrupt: it cannot be fetched.
        Untrusted: the trust policy refuses it.
    """
    from mlxbuild.registry.oci.exchange.pull import pull as fetch

    store = store or open_store()
    with shared(store.home):
        return fetch(store, Reference.parse(reference), settings=Settings.load(store.home))


def load(reference: str, *, draft: str | None = None, store: Store | None = None) -> LoadedModel:
    """Load a built model by its reference (`hello:int4`), without a server.

    `draft` names a smaller model with the same tokenizer, for speculative decoding of a single sequence.

    Raises:
        UnknownReference: no artifact of that name is in the store.
        Untrusted: the trust policy requires a signature that it lacks. Warnings of the policy go to `logging`.
        DraftUnusable: the draft has another tokenizer, or is an embedding model.
        MlxbuildError: the model cannot be loaded.
    """
    from mlxbuild.runtime.loaded_model import LoadedModel

    opened = store or open_store()

    def found(name: str) -> Digest:
        parsed = Reference.parse(name)
        return runnable(opened, parsed, opened.tags.resolve(parsed), tell=logging.getLogger("mlxbuild").warning)

    drafting = None if draft is None else LoadedModel.open(opened, found(draft))
    return LoadedModel.open(opened, found(reference), draft=drafting)
