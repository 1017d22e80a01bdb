"""Imports artifacts of archives and layouts: received into a staging store, and moved if all of them are valid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from mlxbuild.registry.artifact import manifest as manifests
from mlxbuild.registry.artifact import media_types
from mlxbuild.registry.artifact.foreign import require_model
from mlxbuild.registry.artifact.manifest import Manifest
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.artifact.referrers import adopt
from mlxbuild.registry.artifact.verification import Problem
from mlxbuild.registry.core.digest import Blob, Digest, InvalidDigest
from mlxbuild.registry.core.reference import InvalidReference, Reference
from mlxbuild.registry.oci.exchange.progress import Event, EvidenceLeftOut, Warned, one_at_a_time
from mlxbuild.registry.oci.exchange.receive import Receiver
from mlxbuild.registry.store.durable import disk_errors, publish
from mlxbuild.registry.store.layout import BlobCorrupt, BlobMissing, Store
from mlxbuild.registry.store.tags import Descriptor
from mlxbuild.registry.store.temporary import temporary_store
from mlxbuild.registry.store.verified_blobs import VerifiedBlobs
from mlxbuild.runtime.model.files import FACTS_FILE
from mlxbuild.toolchain.interchange.closure import blobs_of, referrers_of
from mlxbuild.toolchain.interchange.errors import BrokenArchive, ImportRefused, NotImportable
from mlxbuild.toolchain.interchange.layout_source import LayoutSource, from_archive, from_layout
from mlxbuild.toolchain.spec.initial import slug

Tell = Callable[[str], None]

_MOST_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Imported:
    """An artifact that was imported into the store."""

    name: str
    """Name in the store: `repository:tag`."""
    digest: Digest
    size_bytes: int
    referrers: int
    has_facts: bool
    """Whether it has the facts that mlxbuild finds at build time: stop tokens, think tags, defaults."""
    has_safetensors: bool
    replaced: Digest | None
    """Digest of another artifact that had the name before, if no warning about it was given."""


def import_archive(
    store: Store, stream: BinaryIO, where: str, *, name: str | None = None, tell: Tell
) -> tuple[Imported, ...]:
    """Import every artifact of an OCI archive into the store, with its referrers.

    The archive is read once, sequentially, into a staging store. Everything is verified there; only then are the blobs
    moved and the names set. After an error, nothing is kept.

    Args:
        store: The store to import into.
        stream: The archive, which need not be seekable.
        where: Name of the archive, for errors.
        name: Name for the artifact, if there is only one; by default the name in the archive.
        tell: Called with warnings of the trust policy, and about version tags that move.

    Raises:
        NotImportable: it holds no artifact, or several and `name` is given.
        ImportRefused, BrokenArchive, UnsafePath, BlobCorrupt, InvalidManifest: it is invalid.
        Untrusted: the trust policy requires a signature that it does not have.
        DiskFull, StoreReadOnly, StoreFailure: it cannot be stored.
    """
    return _import(store, lambda staging: from_archive(stream, staging, where), name, tell)


def import_artifacts(store: Store, path: Path, *, name: str | None = None, tell: Tell) -> tuple[Imported, ...]:
    """Import every artifact of an OCI image layout in a folder, or of an archive in a file; like `import_archive`."""
    if path.is_dir():
        return _import(store, lambda staging: from_layout(path, staging), name, tell)
    with path.open("rb") as stream:
        return import_archive(store, stream, str(path), name=name, tell=tell)


def _import(
    store: Store, open_source: Callable[[Store], LayoutSource], name: str | None, tell: Tell
) -> tuple[Imported, ...]:
    with temporary_store(store.home, "import") as staging:
        source = open_source(staging)
        receiver = Receiver(source, store, one_at_a_time(partial(_tell, tell)), staging=staging)
        for _, manifest in source.artifacts:
            require_model(manifest, source.where)
            _require_none(receiver.describe(manifest), manifest, source.where)
        called = [(_name_of(staging, it, label, source.where), it) for label, it in source.artifacts]
        named = _named(called, name, source.where)
        names = {it.blob.digest: tuple(each for each, other in called if other.blob == it.blob) for _, it in called}
        kept = {it: None for manifest in named.values() for it in receiver.receive_evidence(manifest.blob.digest)}
        for tag, manifest in named.items():
            digest = manifest.blob.digest
            receiver.admit(digest, map(Reference.parse, dict.fromkeys((tag, *names[digest]))))
        for tag, manifest in named.items():
            receiver.receive_files(manifest, f"importing {tag}")
        receiver.record(names)
        for manifest in (*named.values(), *(manifests.read(staging, digest) for digest in kept)):
            _move(staging, store, manifest)
        for digest in kept:
            adopt(store, store.read(digest, limit_bytes=manifests.MANIFEST_LIMIT_BYTES))
        before = dict(store.tags.items())
        moved = receiver.name({tag: manifest.blob.digest for tag, manifest in named.items()})
        return tuple(
            _imported(store, tag, it.blob.digest, None if tag in moved else before.get(tag))
            for tag, it in named.items()
        )


def _tell(tell: Tell, event: Event) -> None:
    match event:
        case Warned(message):
            tell(message)
        case EvidenceLeftOut(digest, reason):
            tell(f"warning: {digest} is left out: {reason}")


def _require_none(problems: Sequence[Problem], manifest: Manifest, where: str) -> None:
    if problems:
        listed = "".join(f"\n  {problem.where}: {problem.message}" for problem in problems[:_MOST_PROBLEMS])
        raise ImportRefused(
            f"{manifest.blob.digest} does not hold{listed}",
            where=where,
            hint="only ModelPack artifacts of raw layers can be imported; nothing was kept",
        )


def _named(called: list[tuple[str, Manifest]], name: str | None, where: str) -> dict[str, Manifest]:
    """Name in the store to artifact: `name` if given, else the name in the archive."""
    if name is not None:
        distinct = {manifest.blob.digest: manifest for _, manifest in called}
        if len(distinct) > 1:
            raise NotImportable(f"it holds {len(distinct)} artifacts", where=where, hint="leave the name out")
        return {Reference.parse(name).store_name: next(iter(distinct.values()))}
    named: dict[str, Manifest] = {}
    for tag, manifest in called:
        if named.setdefault(tag, manifest).blob != manifest.blob:
            raise BrokenArchive(f"two artifacts in it are called `{tag}`", where=where)
    return named


def _name_of(staging: Store, manifest: Manifest, label: str | None, where: str) -> str:
    """The name of an artifact in the archive; a missing part is taken from the artifact's own annotations."""
    artifact = Artifact.open(staging, manifest.blob.digest)
    title = _reference(artifact.annotations.get(media_types.TITLE))
    for text in (label, f"{title.repository}:{label}" if title is not None and label is not None else None):
        if text is not None and (":" in text or "/" in text) and (found := _reference(text)) is not None:
            return found.store_name
    if title is not None and title.tag is not None:
        return title.store_name
    name = slug(str(artifact.config["descriptor"].get("name") or Path(where).stem))
    fitting = _reference(f"{name}:{label}") if label else None
    return (fitting or Reference(name)).store_name


def _reference(text: str | None) -> Reference | None:
    with suppress(InvalidReference, InvalidDigest):
        return Reference.parse(text) if text else None
    return None


def _move(staging: Store, store: Store, manifest: Manifest) -> None:
    """Move the blobs, the manifest last; blobs that the store already has intact stay."""
    for blob in blobs_of(manifest):
        final = store.home.store / "blobs" / blob.digest.algorithm / blob.digest.hex
        if staging.has(blob.digest) and not _is_sound(store, blob):
            with disk_errors(final):
                publish(staging.path(blob.digest), final, durable=True)


def _is_sound(store: Store, blob: Blob) -> bool:
    try:
        VerifiedBlobs(store).require([blob.digest])
    except (BlobMissing, BlobCorrupt):
        return False
    return True


def _imported(store: Store, tag: str, digest: Digest, before: Descriptor | None) -> Imported:
    artifact = Artifact.open(store, digest)
    return Imported(
        name=tag,
        digest=digest,
        size_bytes=artifact.size_bytes,
        referrers=len(referrers_of(store, digest)),
        has_facts=artifact.file(FACTS_FILE) is not None,
        has_safetensors=any(file.path.endswith(".safetensors") for file in artifact.files),
        replaced=before.digest if before is not None and before.digest != digest else None,
    )
