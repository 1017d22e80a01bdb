"""What Python programs do with recipes and artifacts: create, verify, push, pull, load. `import mlxbuild` offers it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import DEFAULT_TAG, Reference
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.leases import shared
from mlxbuild.registry.trust.policy import admit

if TYPE_CHECKING:
    from mlxbuild.registry.oci.exchange.pull import Pulled
    from mlxbuild.registry.oci.exchange.push import Pushed
    from mlxbuild.runtime.loaded_model import LoadedModel
    from mlxbuild.toolchain.create import BuildOptions, Built
    from mlxbuild.toolchain.events.model import Event
    from mlxbuild.toolchain.spec.recipe import Recipe
    from mlxbuild.toolchain.verification import Verification


def open_store(home: str | os.PathLike[str] | None = None) -> Store:
    """The store of a home, made if it is not there; by default of `$MLXBUILD_HOME`, else of `~/.mlxbuild`.

    Raises:
        StoreFailure, StoreReadOnly: it cannot be used.
    """
    return Store.open(Home.from_environment() if home is None else Home(Path(home).absolute()))


def read_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Read a recipe, given by its file or its folder, and resolve its variants. Nothing is fetched.

    Raises:
        SpecError: it cannot be read or holds mistakes, all of them in `problems`.
    """
    from mlxbuild.toolchain.prepare import RECIPE_NAME
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
    """Build a recipe, as `mlxbuild create` does: lock it, run what is not in the cache, run its gates, move its tags.

    Args:
        recipe: Its file, its folder, or what `read_recipe` gave.
        variants: Those that are wanted; all by default.
        locked: Take a missing or stale lock for an error, instead of making a new one.
        store: Where to; by default the store of the home.
        options: How to build. Nothing in them changes what comes out.
        observe: Told of each event, from threads of the build, one at a time.

    Returns:
        What became of each variant, all of them built and their gates passed.

    Raises:
        SpecError, StaleLock, LockMissing, UnknownVariant: the recipe cannot be built from.
        MlxbuildError: the first error of the build. What was built before it stays in the cache.
    """
    from mlxbuild.toolchain.create import create as build
    from mlxbuild.toolchain.events.journal import Journal, new_run_name
    from mlxbuild.toolchain.events.stream import EventStream, Observer
    from mlxbuild.toolchain.prepare import LockMode, prepare
    from mlxbuild.toolchain.spec.recipe import Recipe

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
    """Check every blob of an artifact, and that its recipe, lock and files agree. Damaged blobs are set aside.

    Raises:
        UnknownReference: no artifact of that name is in the store.
        VerificationFailed: it is not what it says.
    """
    from mlxbuild.toolchain.verification import verify_artifact

    store = store or open_store()
    with shared(store.home):
        verification = verify_artifact(store, store.tags.resolve(Reference.parse(reference)))
    verification.require(reference)
    return verification


def push(reference: str, target: str | None = None, *, store: Store | None = None, force: bool = False) -> Pushed:
    """Send an artifact, and the evidence that is attached to it, to a registry.

    Args:
        reference: Its name in the store.
        target: `host/name`, with `:tag` if it should be another there; by default what its name tells, or the default
            registry.
        store: Where it is; by default the store of the home.
        force: Move a tag that holds a version, too, though it names other bytes there.

    Raises:
        UnknownReference: no artifact of that name is in the store.
        NoRegistry, RegistryFailure: there is no registry, or it does not take it.
        VersionTagMoves: a tag with a version would move.
    """
    from mlxbuild.registry.oci.exchange.push import push as send
    from mlxbuild.registry.oci.remote.settings import Settings

    store = store or open_store()
    source, goal = Reference.parse(reference), Reference.parse(target or reference)
    tag = goal.tag or source.tag or DEFAULT_TAG
    with shared(store.home):
        digest, settings = store.tags.resolve(source), Settings.load(store.home)
        where = Reference(goal.repository, None, goal.digest, goal.host)
        return send(store, digest, where, settings=settings, tags=(tag,), force=force)


def pull(reference: str, *, store: Store | None = None) -> Pulled:
    """Bring an artifact, and the evidence that is attached to it, from a registry into the store, verified as it comes.

    Args:
        reference: `host/name:tag` or `host/name@sha256:…`; without a host at the default registry.
        store: Where to; by default the store of the home.

    Raises:
        NoRegistry, RegistryFailure, TransferCorrupt: it cannot be had.
        Untrusted: the trust policy refuses it.
    """
    from mlxbuild.registry.oci.exchange.pull import pull as fetch
    from mlxbuild.registry.oci.remote.settings import Settings

    store = store or open_store()
    with shared(store.home):
        return fetch(store, Reference.parse(reference), settings=Settings.load(store.home))


def load(reference: str, *, draft: str | None = None, store: Store | None = None) -> LoadedModel:
    """Open a built model by its reference (`hello:int4`), without any server.

    `draft` names a smaller model with the same tokens, which makes an answer faster that is the only one.

    Raises:
        UnknownReference: no artifact of that name is in the store.
        Untrusted: the trust policy asks for a signature that it does not have. What it warns of goes to `logging`.
        DraftUnusable: the draft has other tokens, or only embeds.
        MlxbuildError: the model cannot be loaded.
    """
    from mlxbuild.runtime.loaded_model import LoadedModel
    from mlxbuild.toolchain.interchange.completion import completed

    opened = store or open_store()

    def found(name: str) -> Digest:
        parsed = Reference.parse(name)
        digest = opened.tags.resolve(parsed)
        admit(opened, parsed, digest, tell=logging.getLogger("mlxbuild").warning)
        return completed(opened, digest)

    drafting = None if draft is None else LoadedModel.open(opened, found(draft))
    return LoadedModel.open(opened, found(reference), draft=drafting)
