"""Moves imported artifacts from a staging store into the real one if all of them are valid."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from mlxbuild.registry.artifact import manifest as manifests
from mlxbuild.registry.artifact import media_types, modelpack
from mlxbuild.registry.artifact.foreign import require_model
from mlxbuild.registry.artifact.manifest import Manifest
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.artifact.referrers import adopt
from mlxbuild.registry.artifact.verification import verify
from mlxbuild.registry.artifact.versions import moves
from mlxbuild.registry.core.digest import Blob, Digest, InvalidDigest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import InvalidReference, Reference
from mlxbuild.registry.store.durable import disk_errors, publish
from mlxbuild.registry.store.layout import BlobCorrupt, BlobMissing, Store
from mlxbuild.registry.store.origins import Origin, Origins
from mlxbuild.registry.store.soundness import Soundness
from mlxbuild.registry.store.tags import REF_NAME, Descriptor
from mlxbuild.registry.trust.policy import admit
from mlxbuild.runtime.model.files import FACTS_FILE
from mlxbuild.toolchain.interchange import arrivals
from mlxbuild.toolchain.interchange.arrivals import Bring, Entry
from mlxbuild.toolchain.interchange.closure import blobs_of, referrers_of
from mlxbuild.toolchain.interchange.errors import BrokenArchive, ImportRefused, NotImportable
from mlxbuild.toolchain.spec.initial import slug

Tell = Callable[[str], None]

_MOST_MANIFESTS = 10_000
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
    return _import(store, lambda staging: arrivals.from_archive(stream, staging, where), where, name, tell)


def import_layout(store: Store, folder: Path, *, name: str | None = None, tell: Tell) -> tuple[Imported, ...]:
    """Import every artifact of an OCI image layout into the store; like `import_archive`."""
    return _import(store, lambda staging: arrivals.from_layout(folder, staging), str(folder), name, tell)


def _import(
    store: Store, begin: Callable[[Store], tuple[list[Entry], Bring]], where: str, name: str | None, tell: Tell
) -> tuple[Imported, ...]:
    temporary = store.home.cache / "tmp"  # garbage collection removes what a killed process leaves there
    with disk_errors(temporary):
        temporary.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix="import-", dir=temporary))
    try:
        staging = Store.open(Home(place))
        entries, bring = begin(staging)
        artifacts, referrers = _arrived(staging, entries, bring, where)
        called = [(_name_of(Artifact.open(staging, it.blob.digest), label, where), it) for label, it in artifacts]
        named = _named(called, name, where)
        origins = {
            it.blob.digest: Origin(tuple(each for each, other in called if other.blob == it.blob)) for _, it in called
        }
        for referrer in referrers:
            adopt(staging, staging.read(referrer.blob.digest, limit_bytes=manifests.MANIFEST_LIMIT_BYTES))
        kept = {it.blob: it for manifest in named.values() for it in referrers_of(staging, manifest.blob.digest)}
        for tag, manifest in named.items():
            for each in dict.fromkeys((tag, *origins[manifest.blob.digest].names)):
                admit(store, Reference.parse(each), manifest.blob.digest, tell=tell, arrived=staging)
        for manifest in (*named.values(), *kept.values()):
            _move(staging, store, manifest)
        for blob in kept:
            adopt(store, store.read(blob.digest, limit_bytes=manifests.MANIFEST_LIMIT_BYTES))
        Origins(store.home).record(origins)
        before = dict(store.tags.items())
        for move in moves(store, {tag: manifest.blob.digest for tag, manifest in named.items()}):
            tell(f"warning: {move}")
            del before[move.name]
        store.tags.set({tag: modelpack.tag_descriptor(manifest.blob) for tag, manifest in named.items()})
        return tuple(_imported(store, tag, it.blob.digest, before.get(tag)) for tag, it in named.items())
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _arrived(
    staging: Store, entries: list[Entry], bring: Bring, where: str
) -> tuple[list[tuple[str | None, Manifest]], list[Manifest]]:
    """Artifacts with their names in the index, and referrers, all verified in the staging store."""
    artifacts: list[tuple[str | None, Manifest]] = []
    referrers: list[Manifest] = []
    checked: set[Digest] = set()
    budget = iter(range(_MOST_MANIFESTS))
    for entry in entries:
        for label, blob in _listed(staging, entry, bring, where, budget):
            manifest = manifests.read(staging, blob.digest)
            if manifest.blob != blob:
                raise BrokenArchive(f"{blob.digest} is said to have {blob.size_bytes} bytes", where=where)
            if blob.digest not in checked:
                checked.add(blob.digest)
                _check(staging, manifest, bring, where)
            if manifest.subject is None:
                artifacts.append((label, manifest))
            else:
                referrers.append(manifest)
    if not artifacts:
        raise NotImportable("it holds no artifact", where=where)
    return artifacts, referrers


def _listed(
    staging: Store, entry: Mapping[str, Any], bring: Bring, where: str, budget: Iterator[int], depth: int = 0
) -> Iterator[tuple[str | None, Blob]]:
    """The manifests that an entry leads to: itself with its name, or those of a nested index. Each uses up `budget`."""
    if next(budget, None) is None:
        raise BrokenArchive(f"its indexes have more than {_MOST_MANIFESTS} entries", where=where)
    blob = _blob(entry, where)
    bring(blob)
    if entry.get("mediaType") not in media_types.INDEXES:
        annotations = entry.get("annotations")
        label = annotations.get(REF_NAME) if isinstance(annotations, dict) else None
        yield label if isinstance(label, str) else None, blob
        return
    index = manifests.json_object(staging.read(blob.digest, limit_bytes=manifests.MANIFEST_LIMIT_BYTES), where)
    inner = index.get("manifests")
    if not isinstance(inner, list) or not all(isinstance(it, dict) for it in inner) or depth > 1:
        raise BrokenArchive("an index in it is no list of manifests", where=where)
    for it in inner:
        yield from _listed(staging, it, bring, where, budget, depth + 1)


def _blob(entry: Mapping[str, Any], where: str) -> Blob:
    digest, size_bytes = entry.get("digest"), entry.get("size")
    if isinstance(digest, str) and isinstance(size_bytes, int):
        with suppress(InvalidDigest):
            return Blob(Digest.parse(digest), size_bytes)
    raise BrokenArchive("an entry of its index is no descriptor", where=where)


def _check(staging: Store, manifest: Manifest, bring: Bring, where: str) -> None:
    """Check a manifest. Its blobs were hashed when they were copied; the trust package checks what referrers claim."""
    if manifest.subject is None:
        require_model(manifest, where)
    for blob in blobs_of(manifest):
        bring(blob)
        if staging.size(blob.digest) != blob.size_bytes:
            raise BrokenArchive(f"{blob.digest} is said to have {blob.size_bytes} bytes", where=where)
    if manifest.subject is not None:
        return
    report = verify(staging, manifest.blob.digest)
    if not report.ok:
        listed = "".join(f"\n  {problem.where}: {problem.message}" for problem in report.problems[:_MOST_PROBLEMS])
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


def _name_of(artifact: Artifact, label: str | None, where: str) -> str:
    """The name of an artifact in the archive; a missing part is taken from the artifact's own annotations."""
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
        Soundness(store).require([blob.digest])
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
