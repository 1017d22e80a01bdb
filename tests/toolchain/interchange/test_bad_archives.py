"""Nothing of a bad archive is kept."""

from __future__ import annotations

import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

from mlxbuild.registry.artifact.files import UnsafePath
from mlxbuild.registry.artifact.manifest import InvalidManifest
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.artifact.verification import verify
from mlxbuild.registry.core import canonical_json
from mlxbuild.registry.core.digest import Blob
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.store.errors import BlobCorrupt
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.interchange.errors import BrokenArchive, NotImportable
from mlxbuild.toolchain.interchange.importing import import_artifacts
from tests.toolchain.interchange.archives import Entry, assert_refused, changed, contents, never, packed, take, tar_of


def test_every_truncation_is_refused(store: Store, manifest: Blob, other: Store) -> None:
    data = packed(store, manifest)
    end = len(data.rstrip(b"\0"))
    for length in range(0, end, 509):
        assert_refused(other, data[:length], MlxbuildError)


def test_changed_bytes_are_refused(store: Store, manifest: Blob, other: Store) -> None:
    path = f"blobs/sha256/{Artifact.open(store, manifest.digest).files[0].blob.digest.hex}"
    assert_refused(other, changed(packed(store, manifest), **{path: b"Weights" * 100}), BlobCorrupt)


def test_a_blob_that_is_not_there_is_told(store: Store, manifest: Blob, other: Store) -> None:
    path = f"blobs/sha256/{Artifact.open(store, manifest.digest).files[0].blob.digest.hex}"
    assert_refused(other, changed(packed(store, manifest), **{path: None}), BrokenArchive)


@given(data=st.data())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_change_is_refused_or_changes_nothing(store: Store, manifest: Blob, other: Store, data: DataObject) -> None:
    """Bytes that are overwritten, lost or put in, anywhere in an archive."""
    whole = bytearray(packed(store, manifest))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at : at + data.draw(st.integers(0, 600))] = data.draw(st.binary(max_size=600))
    try:
        imported = take(other, bytes(whole))
    except MlxbuildError:
        assert not other.tags.entries()
        assert not list(other.blobs())
    else:
        for artifact in imported:
            assert artifact.digest == manifest.digest
            assert verify(other, artifact.digest).ok
            other.tags.remove(artifact.name)
        for blob in list(other.blobs()):
            other.remove(blob.digest)
    assert not list((other.home.cache / "tmp").iterdir())


@pytest.mark.parametrize(
    "index",
    [b"[]", b"{}", b"{", b'{"manifests": [1]}', b'{"manifests": [{"digest": "x"}]}', b'{"manifests": 1}', b"[" * 9999],
)
def test_a_bad_index_is_refused(store: Store, manifest: Blob, other: Store, index: bytes) -> None:
    assert_refused(other, changed(packed(store, manifest), index=index), BrokenArchive)


def test_an_empty_index_is_nothing_to_import(store: Store, manifest: Blob, other: Store) -> None:
    assert_refused(other, changed(packed(store, manifest), index=b'{"manifests": []}'), NotImportable)


def test_a_lying_size_is_refused(store: Store, manifest: Blob, other: Store) -> None:
    data = packed(store, manifest)
    index = contents(data)["index.json"].replace(b'"size":', b'"size":1')
    assert_refused(other, changed(data, index=index), BrokenArchive)


@pytest.mark.parametrize(
    "bad",
    [
        Entry("../climbs", b"x"),
        Entry("blobs/../../climbs", b"x"),
        Entry("/etc/passwd", b"x"),
        Entry("link", kind=tarfile.SYMTYPE, link="/etc/passwd"),
        Entry("link", kind=tarfile.LNKTYPE, link="index.json"),
        Entry("device", kind=tarfile.CHRTYPE),
        Entry("pipe", kind=tarfile.FIFOTYPE),
        Entry("index.json", b"{}"),
        Entry("INDEX.JSON", b"{}"),
        Entry("oci-layout/file", b"x"),
        Entry("../folder", kind=tarfile.DIRTYPE),
    ],
    ids=lambda entry: f"{entry.name}-{entry.kind.decode()}",
)
@pytest.mark.parametrize("first", [True, False])
def test_paths_that_mislead_are_refused(store: Store, manifest: Blob, other: Store, bad: Entry, first: bool) -> None:
    good = [Entry(path, content) for path, content in contents(packed(store, manifest)).items()]
    assert_refused(other, tar_of([bad, *good] if first else [*good, bad]), UnsafePath)


def test_a_header_cannot_ask_for_memory(other: Store) -> None:
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE):
        assert_refused(other, tar_of([Entry("big", b"1" * (3 << 20), kind)]), BrokenArchive)
        assert_refused(other, tar_of([Entry("x", b"", kind)] * 3000), MlxbuildError)


@pytest.mark.parametrize("start", [b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"])
def test_compressed_archives_are_told_apart(other: Store, start: bytes) -> None:
    with pytest.raises(BrokenArchive, match="compressed"):
        take(other, start + bytes(1024))


def test_no_tar_at_all_is_refused(other: Store) -> None:
    assert_refused(other, b"", BrokenArchive)
    assert_refused(other, b"hello " * 1000, BrokenArchive)


@pytest.mark.parametrize(
    ("config_type", "kind", "told"),
    [
        ("application/vnd.oci.image.config.v1+json", None, "a container image"),
        ("application/vnd.docker.container.image.v1+json", None, "a container image"),
        ("application/vnd.cncf.helm.config.v1+json", None, "a Helm chart"),
        ("application/vnd.oci.empty.v1+json", "application/vnd.acme.rocket.v1", "application/vnd.acme.rocket.v1"),
    ],
)
def test_what_is_no_model_is_refused_by_name(
    store: Store, other: Store, config_type: str, kind: str | None, told: str
) -> None:
    config, layer = store.put(b"{}"), store.put(b"layer")
    image = {
        "schemaVersion": 2,
        "artifactType": kind,
        "config": {"mediaType": config_type, "digest": str(config.digest), "size": 2},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": str(layer.digest), "size": 5}],
    }
    refused = assert_refused(other, packed(store, store.put(canonical_json.encode(image))), InvalidManifest)
    assert told in refused.message
    assert (kind or config_type) in refused.message
    assert refused.hint is not None


def test_a_damaged_layout_is_refused(store: Store, manifest: Blob, other: Store) -> None:
    path = store.path(Artifact.open(store, manifest.digest).files[0].blob.digest)
    path.chmod(0o644)
    path.write_bytes(b"Weights" * 100)
    with pytest.raises(BlobCorrupt):
        import_artifacts(other, store.home.store, tell=never)
    assert not list(other.blobs())
