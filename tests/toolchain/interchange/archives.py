"""An artifact in a store, archives of it, and archives that were tampered with."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pytest

from mlxbuild.registry.artifact import modelpack
from mlxbuild.registry.artifact.files import ArtifactFile, FileRole
from mlxbuild.registry.core import canonical_json
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.tags import Descriptor
from mlxbuild.toolchain.interchange.archive import pack
from mlxbuild.toolchain.interchange.importing import Imported, import_archive

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


def packed(store: Store, manifest: Blob, name: str | None = NAME, *, with_referrers: bool = True) -> bytes:
    output = io.BytesIO()
    pack(store, manifest.digest, name, output, with_referrers=with_referrers)
    return output.getvalue()


def never(message: str) -> None:
    pytest.fail(message)


def take(
    store: Store, data: bytes, name: str | None = None, tell: Callable[[str], None] = never
) -> tuple[Imported, ...]:
    return import_archive(store, io.BytesIO(data), "model.tar", name=name, tell=tell)


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


def assert_refused(store: Store, data: bytes, error: type[MlxbuildError]) -> MlxbuildError:
    """Nothing of it is kept: no blob, no name, no leftovers. Returns the error."""
    before = (set(store.blobs()), store.tags.entries())
    with pytest.raises(error) as caught:
        take(store, data)
    assert (set(store.blobs()), store.tags.entries()) == before
    assert not list((store.home.cache / "tmp").iterdir())
    return caught.value
