"""A tag that holds a version keeps its bytes at a registry, and says so where it moves here."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mlxbuild.registry.artifact.modelpack import tag_descriptor
from mlxbuild.registry.artifact.versions import VersionTagMoves, moves, promises
from mlxbuild.registry.core.digest import Blob
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.oci.exchange.copy import copy
from mlxbuild.registry.oci.exchange.progress import Event, ExchangeEnded, Warned
from mlxbuild.registry.oci.exchange.pull import pull
from mlxbuild.registry.oci.exchange.push import push
from mlxbuild.registry.oci.remote.client import Remote
from mlxbuild.registry.store.layout import Store
from tests.registries import RegistryProcess
from tests.registry.oci.exchange.conftest import SETTINGS

Two = tuple[Blob, Blob]


@pytest.fixture
def two(build_artifact: Callable[..., Blob]) -> Two:
    """Two artifacts of version 1.0."""
    return build_artifact(), build_artifact(LICENSE=b"other")


@pytest.mark.parametrize(
    ("tag", "promised"),
    [("int4-1.0", True), ("1.0", True), ("int4", False), ("latest", False), ("int4-11.0", False), ("1.0-int4", False)],
)
def test_a_tag_holds_a_version_at_its_end(tag: str, promised: bool) -> None:
    assert promises(tag, "1.0") is promised
    assert not promises(tag, None, "")


def test_moves_in_the_store_are_found(store: Store, two: Two) -> None:
    names = ("hello:int4-1.0", "hello:1.0", "hello:int4", "hello:latest")
    store.tags.set(dict.fromkeys(names, tag_descriptor(two[0])))
    assert moves(store, dict.fromkeys(names, two[0].digest)) == ()
    found = moves(store, dict.fromkeys((*names, "hello:new-1.0"), two[1].digest))
    assert [move.names for move in found] == [("hello:int4-1.0", "hello:1.0")]
    assert str(found[0]) == (
        f"`hello:int4-1.0`, `hello:1.0` move from sha256:{two[0].digest.short} to sha256:{two[1].digest.short}: "
        "give the recipe another version, so that both keep a name"
    )


def test_push_moves_no_version_unless_forced(store: Store, two: Two, registry: RegistryProcess) -> None:
    there = Reference.parse(f"{registry.host}/versions/pushed:int4-1.0")
    remote = Remote.open(there, SETTINGS, store.home)
    push(store, two[0].digest, there, settings=SETTINGS, tags=["int4"])
    push(store, two[0].digest, there, settings=SETTINGS)
    moved: list[Event] = []
    with pytest.raises(VersionTagMoves) as refused:
        push(store, two[1].digest, there, settings=SETTINGS, tags=["int4"], observe=moved.append)
    assert moved == [], "nothing was sent for it"
    assert str(two[0].digest) in refused.value.message
    assert str(two[1].digest) in refused.value.message
    assert "--force" in str(refused.value.hint)
    assert {remote.get_manifest(tag).digest for tag in ("int4-1.0", "int4")} == {two[0].digest}
    rolling = Reference.parse(f"{registry.host}/versions/pushed:int4")
    push(store, two[1].digest, rolling, settings=SETTINGS)
    assert remote.get_manifest("int4").digest == two[1].digest
    push(store, two[1].digest, there, settings=SETTINGS, force=True)
    assert remote.get_manifest("int4-1.0").digest == two[1].digest


def test_a_version_that_comes_while_blobs_are_sent_stays(store: Store, two: Two, registry: RegistryProcess) -> None:
    there = Reference.parse(f"{registry.host}/versions/raced:int4-1.0")
    raced: list[str] = []

    def another_is_faster(event: Event) -> None:
        if isinstance(event, ExchangeEnded) and not raced:
            raced.append(event.title)
            push(store, two[0].digest, there, settings=SETTINGS)

    with pytest.raises(VersionTagMoves):
        push(store, two[1].digest, there, settings=SETTINGS, observe=another_is_faster)
    assert raced
    assert Remote.open(there, SETTINGS, store.home).get_manifest("int4-1.0").digest == two[0].digest


def test_copy_moves_no_version_unless_forced(store: Store, two: Two, registry: RegistryProcess) -> None:
    places = [Reference.parse(f"{registry.host}/versions/{name}:int4-1.0") for name in ("from", "to")]
    for artifact, place in zip(two, places, strict=True):
        push(store, artifact.digest, place, settings=SETTINGS)
    with pytest.raises(VersionTagMoves):
        copy(*places, settings=SETTINGS, home=store.home)
    assert copy(*places, settings=SETTINGS, home=store.home, force=True).digest == two[0].digest


def test_pull_warns_of_a_version_that_moved(
    store: Store, second_store: Store, two: Two, registry: RegistryProcess
) -> None:
    there = Reference.parse(f"{registry.host}/versions/pulled:int4-1.0")
    told: list[Event] = []
    for artifact in two:
        push(store, artifact.digest, there, settings=SETTINGS, force=True)
        pull(second_store, there, settings=SETTINGS, observe=told.append)
    (warned,) = [event.message for event in told if isinstance(event, Warned)]
    assert all(artifact.digest.short in warned for artifact in two)
    assert second_store.tags.resolve(there) == two[1].digest
