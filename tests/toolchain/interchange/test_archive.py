"""Archives: the same bytes everywhere, and back again with names and all that refers to them."""

from __future__ import annotations

import io
import json
import tarfile

import pytest

from mlxbuild.registry.artifact.modelpack import tag_descriptor
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.artifact.verification import verify
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store.errors import BlobCorrupt, BlobMissing
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.trust.errors import Untrusted
from mlxbuild.registry.trust.evidence import Evidence, sign, signature
from mlxbuild.registry.trust.keys import generate, write_pair
from mlxbuild.registry.trust.statement import SIGNATURE
from mlxbuild.toolchain.interchange.closure import referrers_of
from mlxbuild.toolchain.interchange.errors import BrokenArchive
from mlxbuild.toolchain.interchange.importing import import_archive, import_artifacts
from tests.toolchain.interchange.archives import (
    NAME,
    Entry,
    assert_refused,
    build,
    contents,
    never,
    packed,
    refer,
    take,
    tar_of,
)


def test_the_same_artifact_gives_the_same_bytes(store: Store, manifest: Blob, other: Store) -> None:
    elsewhere = build(other)
    assert packed(store, manifest) == packed(other, elsewhere)


def test_entries_are_sorted_and_say_nothing_of_this_machine(store: Store, manifest: Blob) -> None:
    with tarfile.open(fileobj=io.BytesIO(packed(store, manifest))) as tar:
        entries = tar.getmembers()
    assert [it.name for it in entries] == sorted(it.name for it in entries)
    assert {(it.mtime, it.uid, it.gid, it.uname, it.gname) for it in entries} == {(0, 0, 0, "", "")}
    assert {(it.mode, it.isdir()) for it in entries} == {(0o755, True), (0o644, False)}


def test_an_archive_comes_back_whole_with_its_name(store: Store, manifest: Blob, other: Store) -> None:
    (imported,) = take(other, packed(store, manifest))
    assert (imported.name, imported.digest, imported.has_facts) == (NAME, manifest.digest, True)
    assert verify(other, manifest.digest).ok
    assert other.tags.resolve(Reference.parse(NAME)) == manifest.digest


def test_without_a_name_the_artifact_names_itself(store: Store, manifest: Blob, other: Store) -> None:
    assert take(other, packed(store, manifest, None))[0].name == NAME


@pytest.mark.parametrize(("label", "name"), [("stable", "hello:stable"), ("ghcr.io/a/b:c", "ghcr.io/a/b:c")])
def test_names_of_others_are_understood(store: Store, manifest: Blob, other: Store, label: str, name: str) -> None:
    assert take(other, packed(store, manifest, label))[0].name == name


def test_a_name_that_moves_is_told(store: Store, manifest: Blob, other: Store) -> None:
    assert take(other, packed(store, manifest), "mine")[0].replaced is None
    assert take(other, packed(store, manifest), "mine")[0].replaced is None
    newer = packed(store, build(store, b"newer" * 9))
    assert take(other, newer, "mine")[0].replaced == manifest.digest


def test_a_version_that_moves_is_warned_of_once(store: Store, manifest: Blob, other: Store) -> None:
    warnings: list[str] = []
    assert take(other, packed(store, manifest), tell=warnings.append)[0].replaced is None
    assert warnings == []
    newer = build(store, b"newer" * 9)
    assert take(other, packed(store, newer), tell=warnings.append)[0].replaced is None
    (warning,) = warnings
    assert f"`{NAME}` moves from sha256:{manifest.digest.short} to sha256:{newer.digest.short}:" in warning


def test_a_name_of_ones_own_wins(store: Store, manifest: Blob, other: Store) -> None:
    assert take(other, packed(store, manifest), "mine")[0].name == "mine:latest"


def test_referrers_travel_with_what_they_speak_of(store: Store, manifest: Blob, other: Store) -> None:
    signature = refer(store, manifest, b"signed")
    countersignature = refer(store, signature, b"signed again")
    (imported,) = take(other, packed(store, manifest))
    assert imported.referrers == 2
    found = {it.blob.digest for it in referrers_of(other, manifest.digest)}
    assert found == {signature.digest, countersignature.digest}
    assert other.has(Digest.of_bytes(b"signed again"))


def test_referrers_stay_behind_when_asked_to(store: Store, manifest: Blob) -> None:
    before = packed(store, manifest)
    refer(store, manifest, b"signed")
    assert packed(store, manifest, with_referrers=False) == before != packed(store, manifest)


def test_a_referrer_of_something_else_is_not_kept(store: Store, manifest: Blob, other: Store) -> None:
    stray = refer(store, Blob(Digest.of_bytes(b"elsewhere"), 9), b"stray")
    files = contents(packed(store, manifest))
    index = json.loads(files["index.json"])
    index["manifests"].append(
        {"mediaType": index["manifests"][0]["mediaType"], "digest": str(stray.digest), "size": stray.size_bytes}
    )
    for digest in (stray.digest, Digest.of_bytes(b"{}"), Digest.of_bytes(b"stray")):
        files[f"blobs/sha256/{digest.hex}"] = store.read(digest)
    files["index.json"] = json.dumps(index).encode()
    take(other, tar_of(Entry(path, content) for path, content in files.items()))
    assert not other.has(stray.digest)


def test_a_damaged_blob_is_never_packed(store: Store, manifest: Blob) -> None:
    path = store.path(Artifact.open(store, manifest.digest).files[0].blob.digest)
    path.chmod(0o644)
    path.write_bytes(b"Weights" * 100)
    with pytest.raises(BlobCorrupt):
        packed(store, manifest)


def test_a_missing_blob_is_told(store: Store, manifest: Blob) -> None:
    store.remove(Artifact.open(store, manifest.digest).files[0].blob.digest)
    with pytest.raises(BlobMissing):
        packed(store, manifest)


def test_the_trust_policy_decides_what_comes_in(store: Store, manifest: Blob, other: Store) -> None:
    key, stranger = generate(), generate()
    rules = "- {pattern: hello, mode: enforce, keys: [keys/acme.pub]}\n"
    write_pair(key, other.home.root / "keys" / "acme.key", None)
    (other.home.root / "policy.yaml").write_text(rules)
    assert_refused(other, packed(store, manifest), Untrusted)
    sign(store, stranger, signature(manifest.digest))
    assert_refused(other, packed(store, manifest), Untrusted)
    sign(store, key, signature(manifest.digest))
    assert_refused(other, packed(store, manifest, with_referrers=False), Untrusted)
    assert take(other, packed(store, manifest))[0].digest == manifest.digest
    assert Evidence.gather(other, manifest.digest, [key.public]).proven(SIGNATURE)
    (other.home.root / "policy.yaml").write_text(rules.replace("enforce", "warn"))
    told: list[str] = []
    data = packed(store, build(store, b"another" * 9), "hello:other")
    import_archive(other, io.BytesIO(data), "model.tar", tell=told.append)
    assert "not signed" in told[0]


def test_the_trust_policy_is_asked_before_the_files_of_a_layout_are_read(
    store: Store, manifest: Blob, other: Store
) -> None:
    key = generate()
    write_pair(key, other.home.root / "keys" / "acme.key", None)
    (other.home.root / "policy.yaml").write_text("- {pattern: hello, mode: enforce, keys: [keys/acme.pub]}\n")
    store.tags.set({NAME: tag_descriptor(manifest)})
    weights = Artifact.open(store, manifest.digest).files[0].blob.digest
    content = store.read(weights)
    store.remove(weights)
    with pytest.raises(Untrusted):
        import_artifacts(other, store.home.store, tell=never)
    sign(store, key, signature(manifest.digest))
    with pytest.raises(BrokenArchive):
        import_artifacts(other, store.home.store, tell=never)
    store.put(content)
    (imported,) = import_artifacts(other, store.home.store, tell=never)
    assert (imported.digest, imported.referrers) == (manifest.digest, 1)
