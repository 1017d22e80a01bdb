"""Lists and attaches referrers at a registry: by the referrers API, or by the fallback tag where there is none.

The list is never trusted, and lists of other clients lack types, so every manifest is fetched (OCI distribution-spec
1.1, "Listing referrers" and "Pushing manifests with subject").
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from mlxbuild.registry.artifact import manifest as manifests
from mlxbuild.registry.artifact.manifest import InvalidManifest, Manifest
from mlxbuild.registry.artifact.media_types import OCI_INDEX
from mlxbuild.registry.core import cancellation, canonical_json
from mlxbuild.registry.core.digest import Digest, InvalidDigest
from mlxbuild.registry.oci.remote.client import RawManifest, Remote
from mlxbuild.registry.oci.remote.errors import (
    ManifestTooLarge,
    ManifestUnknown,
    RegistryFailure,
    RepositoryUnknown,
    TransferCorrupt,
)
from mlxbuild.registry.store.leases import exclusive_file

MOST_REFERRERS = 256
_ATTEMPTS = 6
_PAUSE_SECONDS = (0.05, 0.25)


class InvalidReferrersList(RegistryFailure):
    """The list of a manifest's referrers is not an index."""

    code = "invalid-referrers-list"


LeaveOut = Callable[[Digest, str], None]
"""A function that gets the digest of a listed manifest that is left out, and the reason."""


@dataclass(frozen=True, slots=True)
class RemoteReferrer:
    """A manifest at a registry that refers to another one."""

    raw: RawManifest
    manifest: Manifest


def list_referrers(remote: Remote, subject: Digest, leave_out: LeaveOut | None = None) -> tuple[RemoteReferrer, ...]:
    """The referrers of `subject` at a registry, each fetched, at most `MOST_REFERRERS`.

    Those that are missing, damaged or have another subject are left out; if the list itself is invalid, all are.

    Raises:
        RegistryFailure: the registry does not answer.
    """
    left_out = leave_out or _nothing
    try:
        listed = list(islice(_listed(remote, subject), MOST_REFERRERS + 1))
    except (InvalidReferrersList, ManifestTooLarge) as error:
        left_out(subject, f"all of its referrers: {error.message}")
        return ()
    found = []
    for number, digest in enumerate(listed):
        if number >= MOST_REFERRERS:
            left_out(digest, f"more than {MOST_REFERRERS} manifests refer to {subject}")
            break
        try:
            raw = remote.get_manifest(digest)
            manifest = manifests.parse(raw.data, raw.digest)
        except (ManifestUnknown, ManifestTooLarge, TransferCorrupt, InvalidManifest) as error:
            left_out(digest, error.message)
            continue
        if manifest.subject == subject:
            found.append(RemoteReferrer(raw, manifest))
        else:
            left_out(digest, "it refers to something else")
    return tuple(found)


def attach(remote: Remote, subject: Digest, referrers: Sequence[RemoteReferrer]) -> None:
    """Put manifests that refer to `subject`, whose blobs exist already, and make sure that they are listed.

    A registry confirms that it lists a referrer by a header or, if that is missing, by its list. If it has no list, the
    entries are added to the fallback tag `sha256-<hex>`, and entries of other clients are kept. Concurrent writers may
    overwrite each other, so the tag is read again, and written again if necessary.

    Raises:
        InvalidManifest: a manifest has another subject.
        InvalidReferrersList: the list or the fallback tag is not an index; it is unchanged.
        RegistryFailure: one could not be put or listed.
    """
    unlisted = []
    for referrer in referrers:
        if referrer.manifest.subject != subject:
            raise InvalidManifest(f"it does not refer to {subject}", where=str(referrer.raw.digest))
        if not remote.put_manifest(referrer.raw.data, referrer.raw.media_type, referrer.raw.digest).subject_accepted:
            unlisted.append(_entry(referrer))
    if unlisted and (pages := remote.referrers(subject)) is not None:
        listed = {str(digest) for page in pages for digest in _digests(_index(page, remote.name))}
        unlisted = [entry for entry in unlisted if entry["digest"] not in listed]
    if unlisted:
        with exclusive_file(remote.home.cache / "locks" / "referrers" / subject.hex):
            _list(remote, subject, unlisted)


def fallback_tag(subject: Digest) -> str:
    """The fallback tag, which lists referrers where the registry does not."""
    return f"{subject.algorithm}-{subject.hex}"


def _list(remote: Remote, subject: Digest, entries: Sequence[dict[str, Any]]) -> None:
    tag = fallback_tag(subject)
    for _ in range(_ATTEMPTS):
        index = _read(remote, tag)
        listed = {str(entry.get("digest")) for entry in index["manifests"]}
        missing = [entry for entry in entries if entry["digest"] not in listed]
        if not missing:
            return
        changed = {**index, "manifests": [*index["manifests"], *missing]}
        remote.put_manifest(canonical_json.encode(changed), OCI_INDEX, tag)
        # Long enough for a concurrent writer that read the tag before us to write it.
        cancellation.wait(random.uniform(*_PAUSE_SECONDS))
    raise RegistryFailure(
        "other clients keep overwriting the list of referrers", where=f"{remote.name}:{tag}", hint="push again"
    )


def _read(remote: Remote, tag: str) -> dict[str, Any]:
    try:
        raw = remote.get_manifest(tag)
    except (ManifestUnknown, RepositoryUnknown):
        return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    return _index(raw.data, f"{remote.name}:{tag}")


def _listed(remote: Remote, subject: Digest) -> Iterator[Digest]:
    """The digests in the list of referrers, each once, page by page."""
    pages = remote.referrers(subject)
    documents: Iterable[dict[str, Any]]
    if pages is None:
        documents = [_read(remote, fallback_tag(subject))]
    else:
        documents = (_index(page, f"{remote.name} referrers of {subject}") for page in pages)
    found: set[Digest] = set()
    for document in documents:
        for digest in _digests(document):
            if digest.algorithm == "sha256" and digest not in found:
                found.add(digest)
                yield digest


def _digests(index: dict[str, Any]) -> Iterator[Digest]:
    for entry in index["manifests"]:
        with suppress(InvalidDigest):
            yield Digest.parse(str(entry.get("digest")))


def _index(data: bytes, where: str) -> dict[str, Any]:
    try:
        document = manifests.json_object(data, where)
    except InvalidManifest:
        document = {}
    listed = document.get("manifests")
    if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
        raise InvalidReferrersList(
            "the list of referrers is not an index", where=where, hint="another tool wrote it: inspect it"
        )
    return document


def _entry(referrer: RemoteReferrer) -> dict[str, Any]:
    """The descriptor of a referrer, with the type and annotations of its manifest."""
    raw, manifest = referrer.raw, referrer.manifest
    entry: dict[str, Any] = {
        "mediaType": raw.media_type,
        "digest": str(raw.digest),
        "size": len(raw.data),
        "artifactType": manifest.artifact_type or manifest.config.media_type,
    }
    if manifest.annotations:
        entry["annotations"] = dict(manifest.annotations)
    return entry


def _nothing(_digest: Digest, _reason: str) -> None:
    return None
