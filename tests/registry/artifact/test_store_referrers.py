"""Referrers in the store: found by their subject, listed for other tools, kept and let go with their subject."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest

from mlxbuild.registry.artifact.manifest import InvalidManifest
from mlxbuild.registry.artifact.modelpack import tag_descriptor
from mlxbuild.registry.artifact.referrers import adopt, attach, referrers
from mlxbuild.registry.core import canonical_json
from mlxbuild.registry.core.digest import Blob
from mlxbuild.registry.store.gc import collect
from mlxbuild.registry.store.layout import BlobMissing, Store

KIND = "application/vnd.example.note+json"


@pytest.fixture
def artifact(store: Store, build_artifact: Callable[..., Blob]) -> Blob:
    """An artifact with a name."""
    manifest = build_artifact()
    store.tags.set({"hello:latest": tag_descriptor(manifest)})
    return manifest


def test_what_is_attached_is_found_by_its_subject(store: Store, artifact: Blob) -> None:
    note = attach(store, artifact.digest, b"a note", KIND, {"org.example": "yes"})
    later = attach(store, artifact.digest, b"another", KIND, {})
    on_note = attach(store, note.digest, b"on the note", KIND, {})
    assert [each.digest for each in referrers(store, artifact.digest)] == [note.digest, later.digest]
    assert [each.digest for each in referrers(store, note.digest)] == [on_note.digest]
    assert note.artifact_type == KIND
    assert note.content is not None
    assert store.read(note.content.digest) == b"a note"


def test_the_manifest_is_what_the_specification_says(store: Store, artifact: Blob) -> None:
    note = attach(store, artifact.digest, b"a note", KIND, {"org.example": "yes"})
    empty = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert note.content is not None
    assert json.loads(store.read(note.digest)) == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": KIND,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty, "size": 2},
        "layers": [{"mediaType": KIND, "digest": str(note.content.digest), "size": 6}],
        "subject": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": str(artifact.digest),
            "size": artifact.size_bytes,
        },
        "annotations": {"org.example": "yes"},
    }


def test_it_is_listed_once_without_a_name(store: Store, artifact: Blob) -> None:
    note = attach(store, artifact.digest, b"a note", KIND, {})
    attach(store, artifact.digest, b"a note", KIND, {})
    adopt(store, store.read(note.digest))
    assert [name for name, _ in store.tags.items()] == ["hello:latest"]
    (entry,) = [entry for entry in store.tags.entries() if "annotations" not in entry]
    assert entry == {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": str(note.digest),
        "size": note.manifest.blob.size_bytes,
        "artifactType": KIND,
    }
    assert [descriptor.digest for descriptor in store.tags.unnamed()] == [note.digest]


def test_it_stays_and_goes_with_its_subject(store: Store, artifact: Blob) -> None:
    note = attach(store, artifact.digest, b"a note", KIND, {})
    assert note.content is not None
    collect(store, grace_seconds=0)
    assert store.has(note.digest)
    assert store.has(note.content.digest)
    store.tags.remove("hello:latest")
    collect(store, grace_seconds=0)
    assert not store.has(note.digest)
    assert store.tags.entries() == []


def test_what_is_damaged_or_another_tools_is_passed_over(store: Store, artifact: Blob) -> None:
    note = attach(store, artifact.digest, b"a note", KIND, {})
    bad = attach(store, artifact.digest, b"gone", KIND, {})
    store.remove(bad.digest)
    index = json.loads((store.home.store / "index.json").read_bytes())
    index["manifests"] += [{"mediaType": "m", "digest": "sha512:" + "0" * 128, "size": 3}]
    (store.home.store / "index.json").write_text(json.dumps(index))
    assert [each.digest for each in referrers(store, artifact.digest)] == [note.digest]


def test_only_manifests_with_a_subject_are_adopted(store: Store, artifact: Blob) -> None:
    with pytest.raises(InvalidManifest, match="refers to no other"):
        adopt(store, store.read(artifact.digest))
    with pytest.raises(InvalidManifest):
        adopt(store, canonical_json.encode({"subject": 7, "config": {}, "layers": []}))
    assert len(store.tags.entries()) == 1


def test_nothing_is_attached_to_what_is_not_there(store: Store, artifact: Blob) -> None:
    store.remove(artifact.digest)
    with pytest.raises(BlobMissing):
        attach(store, artifact.digest, b"a note", KIND, {})
    assert len(store.tags.entries()) == 1


def test_skopeo_reads_the_store_with_referrers(store: Store, artifact: Blob, real_tool: Callable[[str], str]) -> None:
    attach(store, artifact.digest, b"a note", KIND, {})
    command = [real_tool("skopeo"), "inspect", "--raw", f"oci:{store.home.store}:hello:latest"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    assert raw == store.read(artifact.digest)
