"""Archives: the same bytes everywhere, read by skopeo, and nothing of a bad one is kept."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

from registry import canonical_json
from registry.artifact import modelpack
from registry.artifact.files import ArtifactFile, FileRole, UnsafePath
from registry.artifact.reader import Artifact
from registry.artifact.verification import verify
from registry.digest import Blob, Digest
from registry.errors import MlxbuildError
from registry.home import Home
from registry.reference import Reference
from registry.store.errors import BlobCorrupt, BlobMissing
from registry.store.layout import Store
from registry.store.tags import Descriptor
from registry.trust.errors import Untrusted
from registry.trust.evidence import Evidence, sign, signature
from registry.trust.keys import generate, write_pair
from registry.trust.statement import SIGNATURE
from toolchain.interchange.archive import pack
from toolchain.interchange.arrive import Imported, import_archive, import_layout
from toolchain.interchange.closure import referrers_of
from toolchain.interchange.errors import BrokenArchive, ImportRefused, NotImportable

NAME = "hello:int4-1.0"
KIND = "application/vnd.dev.sigstore.bundle.v0.3+json"


def build(store: Store, weights: bytes = b"weights" * 100) -> Blob:
    files = [
        ArtifactFile("model.safetensors", FileRole.WEIGHT, store.put(weights)),
        ArtifactFile("config.json", FileRole.CONFIG, store.put(b'{"model_type":"llama"}')),
        ArtifactFile("mlxbuild/facts.json", FileRole.CONFIG, store.put(b"{}")),
    ]
    description = modelpack.ArtifactDescription(
        name="hello",
        version="1.0",
        title="hello:int4@1.0",
        spec_digest=Digest.of_bytes(b"spec"),
        lock_digest=Digest.of_bytes(b"lock"),
    )
    return modelpack.build(store, description, files)


def refer(store: Store, subject: Blob, content: bytes) -> Blob:
    """A referrer, listed as a push or a signature lists it."""
    config, layer = store.put(b"{}"), store.put(content)

    def descriptor(media_type: str, blob: Blob) -> dict[str, object]:
        return {"mediaType": media_type, "digest": str(blob.digest), "size": blob.size_bytes}

    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": KIND,
        "config": descriptor("application/vnd.oci.empty.v1+json", config),
        "layers": [descriptor(KIND, layer)],
        "subject": descriptor("application/vnd.oci.image.manifest.v1+json", subject),
    }
    blob = store.put(canonical_json.encode(manifest))
    store.tags.add_unnamed([Descriptor(blob.digest, blob.size_bytes, str(manifest["mediaType"]), KIND)])
    return blob


@pytest.fixture
def manifest(store: Store) -> Blob:
    blob = build(store)
    store.tags.set({NAME: modelpack.tag_descriptor(blob)})
    return blob


@pytest.fixture
def other(tmp_path: Path) -> Store:
    return Store.open(Home(tmp_path / "other"))


def packed(store: Store, manifest: Blob, name: str | None = NAME, *, with_referrers: bool = True) -> bytes:
    output = io.BytesIO()
    pack(store, manifest.digest, name, output, with_referrers=with_referrers)
    return output.getvalue()


def take(store: Store, data: bytes, name: str | None = None) -> tuple[Imported, ...]:
    return import_archive(store, io.BytesIO(data), "model.tar", name=name, tell=never)


def never(message: str) -> None:
    pytest.fail(message)


def contents(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {it.name: tar.extractfile(it).read() for it in tar if it.isreg()}  # type: ignore[union-attr]


@dataclass(frozen=True)
class Entry:
    """One entry of a tar made by hand."""

    name: str
    content: bytes = b""
    kind: bytes = tarfile.REGTYPE
    link: str = ""


def tar_of(entries: Iterable[Entry], form: int = tarfile.PAX_FORMAT) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=form) as tar:
        for entry in entries:
            info = tarfile.TarInfo(entry.name)
            info.size, info.type, info.linkname = len(entry.content), entry.kind, entry.link
            tar.addfile(info, io.BytesIO(entry.content))
    return output.getvalue()


def changed(data: bytes, **changes: bytes | None) -> bytes:
    """The archive with other contents (None leaves one out); `index` is index.json."""
    files = {**contents(data), **{("index.json" if key == "index" else key): it for key, it in changes.items()}}
    return tar_of(Entry(path, content) for path, content in files.items() if content is not None)


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
    assert take(other, packed(store, manifest))[0].replaced is None
    assert take(other, packed(store, manifest))[0].replaced is None
    assert take(other, packed(store, build(store, b"newer" * 9)))[0].replaced == manifest.digest


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


def assert_refused(store: Store, data: bytes, error: type[MlxbuildError]) -> None:
    """Nothing of it is kept: no blob, no name, no leftovers."""
    before = (set(store.blobs()), store.tags.entries())
    with pytest.raises(error):
        take(store, data)
    assert (set(store.blobs()), store.tags.entries()) == before
    assert not list((store.home.cache / "tmp").iterdir())


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
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


def test_an_image_that_is_no_model_is_refused(store: Store, other: Store) -> None:
    config, layer = store.put(b"{}"), store.put(b"layer")
    image = {
        "schemaVersion": 2,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": str(config.digest), "size": 2},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": str(layer.digest), "size": 5}],
    }
    assert_refused(other, packed(store, store.put(canonical_json.encode(image))), ImportRefused)


@pytest.fixture
def skopeo(real_tool: Callable[[str], str]) -> Callable[..., bytes]:
    program = real_tool("skopeo")

    def run(*arguments: str) -> bytes:
        done = subprocess.run([program, "--insecure-policy", *arguments], capture_output=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    return run


def test_skopeo_reads_what_is_packed(
    store: Store, manifest: Blob, skopeo: Callable[..., bytes], tmp_path: Path
) -> None:
    archive = tmp_path / "model.tar"
    archive.write_bytes(packed(store, manifest))
    assert skopeo("inspect", "--raw", f"oci-archive:{archive}") == store.read(manifest.digest)
    assert skopeo("inspect", "--raw", f"oci-archive:{archive}:{NAME}") == store.read(manifest.digest)
    copied = Home(tmp_path / "copied")
    copied.root.mkdir()
    skopeo("copy", f"oci-archive:{archive}", f"oci:{copied.store}:{NAME}")
    assert verify(Store.open(copied, create=False), manifest.digest).ok


def test_skopeo_reads_the_named_one_beside_its_referrers(
    store: Store, manifest: Blob, skopeo: Callable[..., bytes], tmp_path: Path
) -> None:
    refer(store, manifest, b"signed")
    archive = tmp_path / "model.tar"
    archive.write_bytes(packed(store, manifest))
    assert skopeo("inspect", "--raw", f"oci-archive:{archive}:{NAME}") == store.read(manifest.digest)


def test_archives_and_layouts_of_skopeo_are_imported(
    store: Store, manifest: Blob, other: Store, skopeo: Callable[..., bytes], tmp_path: Path
) -> None:
    archive, layout = tmp_path / "theirs.tar", tmp_path / "theirs"
    skopeo("copy", f"oci:{store.home.store}:{NAME}", f"oci-archive:{archive}:acme/hello:1")
    with archive.open("rb") as stream:
        (imported,) = import_archive(other, stream, str(archive), tell=never)
    assert (imported.name, imported.digest) == ("acme/hello:1", manifest.digest)
    skopeo("copy", f"oci:{store.home.store}:{NAME}", f"oci:{layout}:2")
    (imported,) = import_layout(other, layout, tell=never)
    assert (imported.name, imported.digest) == ("hello:2", manifest.digest)
    assert verify(other, manifest.digest).ok


def test_a_damaged_layout_is_refused(store: Store, manifest: Blob, other: Store) -> None:
    path = store.path(Artifact.open(store, manifest.digest).files[0].blob.digest)
    path.chmod(0o644)
    path.write_bytes(b"Weights" * 100)
    with pytest.raises(BlobCorrupt):
        import_layout(other, store.home.store, tell=never)
    assert not list(other.blobs())
