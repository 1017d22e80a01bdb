"""Tags: many at once, others' entries kept, and what a wrong name is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import InvalidReference, Reference
from mlxbuild.registry.store.errors import StoreFailure
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.tags import REF_NAME, Descriptor, UnknownReference, _with

A = Descriptor(Digest.of_bytes(b"a"), 1, "application/vnd.oci.image.manifest.v1+json", "application/vnd.a")
B = Descriptor(Digest.of_bytes(b"b"), 1, "application/vnd.oci.image.manifest.v1+json")


def index(store: Store) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((store.home.store / "index.json").read_bytes())
    return document


def test_names_are_set_moved_and_removed(store: Store) -> None:
    store.tags.set({"hello:latest": A, "hello:int4-1.0": A})
    store.tags.set({"hello:latest": B})
    assert store.tags.items() == [("hello:int4-1.0", A), ("hello:latest", B)]
    assert store.tags.resolve(Reference.parse("hello")) == B.digest
    assert store.tags.resolve(Reference.parse("hello:int4@1.0")) == A.digest
    store.tags.remove("hello:latest")
    assert store.tags.items() == [("hello:int4-1.0", A)]
    assert Store.open(store.home).tags.items() == [("hello:int4-1.0", A)]


def test_entries_are_descriptors_that_other_tools_read(store: Store) -> None:
    store.tags.set({"hello:int4-1.0": A})
    assert index(store)["manifests"] == [
        {
            "mediaType": A.media_type,
            "digest": str(A.digest),
            "size": 1,
            "annotations": {"org.opencontainers.image.ref.name": "hello:int4-1.0"},
            "artifactType": A.artifact_type,
        }
    ]


def test_what_others_wrote_stays(store: Store) -> None:
    foreign = [
        {"mediaType": "m", "digest": "sha512:" + "0" * 128, "size": 3, "annotations": {REF_NAME: "strange"}},
        {"mediaType": "m", "digest": str(B.digest), "size": 1, "platform": {"os": "linux"}},
        {
            "mediaType": A.media_type,
            "digest": str(A.digest),
            "size": 1,
            "annotations": {REF_NAME: "hello:latest", "kind": "dev.cosignproject.cosign/image"},
        },
    ]
    whole = {"schemaVersion": 2, "manifests": foreign, "annotations": {"a": "b"}, "x": [1]}
    (store.home.store / "index.json").write_text(json.dumps(whole))
    store.tags.set({"hello:v1": B, "hello:latest": A})
    assert index(store)["manifests"][:3] == foreign
    store.tags.remove("hello:v1")
    assert index(store) == whole


def test_a_digest_decides_alone_and_must_be_there(store: Store) -> None:
    digest = store.put(b"a").digest
    store.tags.set({"hello:latest": B})
    assert store.tags.resolve(Reference("hello", "latest", digest)) == digest
    with pytest.raises(UnknownReference, match="does not hold"):
        store.tags.resolve(Reference("hello", None, Digest.of_bytes(b"absent")))


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ("helo:int4@1.0", "`hello:int4-1.0`"),
        ("hello:int5@1.0", "`hello:int4-1.0`"),
        ("hello", "`hello:int4-1.0`"),
        ("zzz/qqq:x", "the store has `hello:int4-1.0`"),
    ],
)
def test_unknown_names_get_the_nearest(store: Store, asked: str, named: str) -> None:
    store.tags.set({"hello:int4-1.0": A, "hello:none-1.0": A})
    with pytest.raises(UnknownReference) as caught:
        store.tags.resolve(Reference.parse(asked))
    assert named in (caught.value.hint or "")
    assert caught.value.exit_code == 2


def test_unknown_names_in_an_empty_store(store: Store) -> None:
    with pytest.raises(UnknownReference) as caught:
        store.tags.resolve(Reference.parse("hello"))
    assert "mlxbuild create" in (caught.value.hint or "")
    with pytest.raises(UnknownReference):
        store.tags.remove("hello:latest")


@pytest.mark.parametrize("name", ["hello", "Hello:v1", f"hello:v1@{A.digest}", ""])
def test_only_whole_names_can_be_set(store: Store, name: str) -> None:
    with pytest.raises(InvalidReference):
        store.tags.set({"good:v1": A, name: A})
    assert store.tags.items() == []


@pytest.mark.parametrize("content", ["{", "[]", '{"manifests": {}}', '{"manifests": [1]}'])
def test_a_damaged_index_is_an_error_not_an_empty_store(store: Store, content: str) -> None:
    (store.home.store / "index.json").write_text(content)
    with pytest.raises(StoreFailure, match="tags cannot be read"):
        store.tags.items()
    with pytest.raises(StoreFailure):
        store.tags.set({"hello:latest": A})
    assert (store.home.store / "index.json").read_text() == content


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("helo", "did you mean `hello:int4-1.0`?"),
        ("helo:latest", "did you mean `hello:int4-1.0`?"),
        ("zz", "the store has `zebra:latest`, `hello:int4-1.0`, `o:latest`"),
    ],
)
def test_names_are_alike_by_themselves_and_not_by_the_tag_that_all_have(home: Home, asked: str, hint: str) -> None:
    store = Store.open(home)
    store.tags.set(dict.fromkeys(("o:latest", "zebra:latest", "hello:int4-1.0"), A))
    with pytest.raises(UnknownReference) as caught:
        store.tags.resolve(Reference.parse(asked))
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("nix", "`mlxbuild list` shows the names"),
        ("team-x", "did you mean `team-b:int4` or `team-a:int4`?"),
        ("team-x:int4", "did you mean `team-b:int4` or `team-a:int4`?"),
    ],
)
def test_each_model_is_told_once_and_none_if_none_is_near(home: Home, asked: str, hint: str) -> None:
    store = Store.open(home)
    store.tags.set({f"{name}:{tag}": A for name in ("team-a", "team-b") for tag in ("int4", "int4-1.0", "latest")})
    with pytest.raises(UnknownReference) as caught:
        store.tags.resolve(Reference.parse(asked))
    assert caught.value.hint == hint


@pytest.mark.parametrize("asked", ["llama", "llama:q4", "tiny-of-ours"])
def test_of_many_names_the_closest_are_told_first(home: Home, asked: str) -> None:
    store = Store.open(home)
    others = [f"{letter * 3}:latest" for letter in "bcdefghjkp"]
    near = ["meta-llama-3.1-8b-instruct:int4", "ours-so-tiny:int4"]
    store.tags.set(dict.fromkeys((*others, *near), A))
    with pytest.raises(UnknownReference) as caught:
        store.tags.resolve(Reference.parse(asked))
    assert caught.value.hint is not None
    first = near["tiny" in asked]
    assert caught.value.hint.startswith((f"the store has `{first}`", f"did you mean `{first}`"))


def test_many_writers_lose_no_name(home: Home) -> None:
    Store.open(home)

    def tag(worker: int) -> None:
        table = Store.open(home).tags
        for number in range(10):
            table.set({f"w{worker}:t{number}": A})

    threads = [threading.Thread(target=tag, args=(worker,)) for worker in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Store.open(home).tags.items()) == 60


def test_a_crash_moves_all_names_or_none(
    store: Store, crash_before: Callable[[int, Path, Callable[[], object]], bool]
) -> None:
    names = ["a:latest", "a:x", "b:latest"]
    before, after = dict.fromkeys(names, A), dict.fromkeys(names, B)
    seen = []
    step, crashed = 0, True
    while crashed:
        store.tags.set(before)
        crashed = crash_before(step, store.home.root, lambda: store.tags.set(after))
        found = dict(store.tags.items())
        assert found in (before, after)
        seen.append(found == after)
        step += 1
    assert seen == sorted(seen)
    assert seen[-1] is True
    assert len(seen) > 5


names = st.sampled_from(["a:x", "a:y", "b:x", "c:z"])
annotations = st.none() | st.dictionaries(st.sampled_from([REF_NAME, "kind"]), names)
entries = st.builds(
    lambda digest, annotations: {"digest": str(digest)} | ({} if annotations is None else {"annotations": annotations}),
    st.sampled_from([A.digest, B.digest]),
    annotations,
)


@given(st.lists(entries, max_size=6), st.dictionaries(names, st.sampled_from([A, B])))
def test_setting_changes_those_names_alone(before: list[dict[str, Any]], chosen: dict[str, Descriptor]) -> None:
    after = _with(before, chosen)

    def others(listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [entry for entry in listed if entry.get("annotations", {}).get(REF_NAME) not in chosen]

    assert others(after) == others(before)
    for name, descriptor in chosen.items():
        (entry,) = [entry for entry in after if entry.get("annotations", {}).get(REF_NAME) == name]
        assert entry["digest"] == str(descriptor.digest)
    assert _with(after, chosen) == after
