"""Which artifact a client means, when it leaves out tags and writes names in any case."""

from __future__ import annotations

import pytest

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.reference import InvalidReference
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.tags import Descriptor, UnknownReference
from mlxbuild.runtime.server.models.names import display_name, find_model


@pytest.fixture
def named(store: Store) -> Store:
    """A store with names for three manifests."""
    blobs = {name: store.put(name.encode()) for name in "abc"}
    names = {
        "hello:latest": "a",
        "hello:int4-1.0": "a",
        "hello:int8-1.0": "b",
        "lonely:int4-2.0": "c",
        "lonely:int4": "c",
        "several:one": "a",
        "several:two": "b",
        "ghcr.io/acme/hello:Q4_K_M": "b",
    }
    store.tags.set({name: _descriptor(blobs[key]) for name, key in names.items()})
    return store


def _descriptor(blob: Blob) -> Descriptor:
    return Descriptor(blob.digest, blob.size_bytes, "application/vnd.oci.image.manifest.v1+json")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("hello", "hello:latest"),
        ("hello:latest", "hello:latest"),
        ("  HELLO ", "hello:latest"),
        ("hello:int8@1.0", "hello:int8-1.0"),
        ("hello:INT8-1.0", "hello:int8-1.0"),
        ("lonely", "lonely:int4"),
        ("GHCR.io/Acme/Hello:q4_k_m", "ghcr.io/acme/hello:Q4_K_M"),
    ],
)
def test_what_is_meant(named: Store, written: str, meant: str) -> None:
    reference, digest = find_model(named, written)
    assert str(reference) == meant
    assert digest == dict(named.tags.items())[meant].digest


def test_a_digest_decides_alone(named: Store) -> None:
    digest = Digest.of_bytes(b"b")
    assert find_model(named, f"hello@{digest}")[1] == digest


def test_a_name_that_comes_while_it_is_looked_for_is_taken(named: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    items, begun = type(named.tags).items, [True]
    monkeypatch.setattr(type(named.tags), "items", lambda tags: [] if begun and begun.pop() else items(tags))
    reference, digest = find_model(named, "hello:int8-1.0")
    assert (str(reference), digest) == ("hello:int8-1.0", Digest.of_bytes(b"b"))


@pytest.mark.parametrize("written", ["several", "nobody", "hello:none", f"hello@sha256:{'0' * 64}"])
def test_what_is_not_there(named: Store, written: str) -> None:
    with pytest.raises(UnknownReference):
        find_model(named, written)


@pytest.mark.parametrize("written", ["", "a b", "x:y:z", "hello:", "/x", "x@sha256:1"])
def test_what_is_no_name(named: Store, written: str) -> None:
    with pytest.raises(InvalidReference):
        find_model(named, written)


def test_lists_always_show_a_tag() -> None:
    assert display_name("host:5000/a:b") == "host:5000/a:b"
    assert display_name("host:5000/a") == "host:5000/a:latest"
