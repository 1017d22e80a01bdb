"""Any index.json: it is read, or refused by an error of the tree that says what to do; never by anything else."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store.errors import StoreFailure
from mlxbuild.registry.store.gc import collect
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.tags import REF_NAME

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("abc"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
ENTRY = {
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "digest": "sha256:" + "0" * 64,
    "size": 5,
    "annotations": {REF_NAME: "a:x"},
    "artifactType": "x",
}


def use(store: Store) -> None:
    """Everything that reads the index."""
    for work in (
        store.tags.items,
        store.tags.unnamed,
        store.tags.entries,
        lambda: store.tags.resolve(Reference.parse("a:x")),
        lambda: store.tags.remove("a:y"),
        lambda: store.tags.add_unnamed([]),
        lambda: collect(store, grace_seconds=0),
    ):
        try:
            work()  # type: ignore[operator]
        except MlxbuildError as error:
            assert error.hint, error  # noqa: PT017


def written(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Home(Path(folder)))
        (store.home.store / "index.json").write_bytes(content)
        use(store)


@given(st.dictionaries(st.sampled_from([*ENTRY]), values, max_size=3), st.sampled_from([*ENTRY, ""]))
def test_entries_of_any_form(changes: dict[str, Any], left_out: str) -> None:
    entry = {name: value for name, value in {**ENTRY, **changes}.items() if name != left_out}
    written(json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode())


@given(values)
def test_documents_of_any_form(document: Any) -> None:
    written(json.dumps(document).encode())
    written(json.dumps({"manifests": document}).encode())


@given(st.data())
def test_bytes_that_were_changed(data: st.DataObject) -> None:
    content = bytearray(json.dumps({"schemaVersion": 2, "manifests": [ENTRY]}).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    written(bytes(content))


@pytest.mark.parametrize("name", ["index.json", "oci-layout"])
@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"manifests":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b"\xff"]
)
def test_deep_nesting_and_no_text(store: Store, name: str, content: bytes) -> None:
    (store.home.store / name).write_bytes(content)
    with pytest.raises(StoreFailure) as caught:
        Store.open(store.home).tags.items()
    assert caught.value.hint is not None


def test_a_name_without_a_digest_is_told_for_its_blobs_would_be_nobodys(store: Store) -> None:
    entry = {"annotations": {"org.opencontainers.image.ref.name": "a:1"}}
    (store.home.store / "index.json").write_text(json.dumps({"manifests": [entry]}))
    with pytest.raises(StoreFailure, match="the entry of `a:1` has no digest") as caught:
        store.tags.items()
    assert "until `gc`" in (caught.value.hint or "")


@pytest.mark.parametrize("entry", [{}, {"digest": "sha256:abc"}, {**ENTRY, "digest": None}, {"digest": "abc"}])
def test_an_entry_that_is_no_descriptor_is_told_for_its_blobs_would_be_nobodys(store: Store, entry: Any) -> None:
    (store.home.store / "index.json").write_text(json.dumps({"manifests": [entry]}))
    blob = store.put(b"a blob that is worth much")
    with pytest.raises(StoreFailure, match="has no digest"):
        collect(store, grace_seconds=0)
    assert store.has(blob.digest)


@pytest.mark.parametrize("lost", [("index.json",), ("index.json", "oci-layout")])
def test_names_that_are_lost_are_not_taken_for_none(store: Store, lost: tuple[str, ...]) -> None:
    blob = store.put(b"a blob that is worth much")
    for name in lost:
        (store.home.store / name).unlink()
    again = Store.open(store.home)
    for work in (again.tags.items, again.tags.unnamed, lambda: collect(again, grace_seconds=0)):
        with pytest.raises(StoreFailure, match="there is no such file, and there are blobs") as caught:
            work()
    assert again.has(blob.digest)
    (mended,) = re.findall("`({.*})`", caught.value.hint or "")
    (store.home.store / "index.json").write_text(mended)
    assert again.tags.items() == []


def test_an_algorithm_of_another_tool_is_left_alone(store: Store) -> None:
    entries = [{**ENTRY, "digest": "sha512:" + "0" * 128}]
    (store.home.store / "index.json").write_text(json.dumps({"manifests": entries}))
    assert store.tags.entries() == entries


def test_a_store_without_blobs_needs_no_index(store: Store) -> None:
    (store.home.store / "index.json").unlink()
    assert store.tags.items() == []


def test_a_size_that_is_none_is_told(store: Store) -> None:
    (store.home.store / "index.json").write_text(json.dumps({"manifests": [{**ENTRY, "size": "abc"}]}))
    with pytest.raises(StoreFailure, match="an entry has the size 'abc'"):
        store.tags.items()
