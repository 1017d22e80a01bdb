"""Requests for manifests, which are transferred as unchanged bytes with their digests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mlxbuild.registry.core.digest import Digest, InvalidDigest
from mlxbuild.registry.oci.remote.error_mapping import classified, failure
from mlxbuild.registry.oci.remote.errors import ManifestTooLarge, RegistryFailure, TransferCorrupt
from mlxbuild.registry.oci.remote.response import Response, resolved
from mlxbuild.registry.oci.remote.retry import retry
from mlxbuild.registry.oci.remote.transport import Transport
from mlxbuild.registry.store.layout import MANIFEST_LIMIT_BYTES

LIMIT_BYTES = MANIFEST_LIMIT_BYTES
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
ACCEPTED = (
    OCI_MANIFEST,
    OCI_INDEX,
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MOST_PAGES = 20
"""The most pages of a referrers list that are fetched."""


@dataclass(frozen=True, slots=True)
class RemoteDescriptor:
    """The descriptor of a manifest at a registry; `size_bytes` is None if the registry does not give it."""

    digest: Digest
    media_type: str
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class RawManifest:
    """The unchanged bytes of a manifest or index, and the sha256 computed from them."""

    data: bytes
    media_type: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class PutResult:
    """The result of putting a manifest."""

    digest: Digest
    subject_accepted: bool


def head(transport: Transport, name: str, actions: str = "pull") -> RemoteDescriptor | None:
    """Fetch a manifest's descriptor; None if the repository has no such manifest."""
    answer = transport.request("HEAD", f"manifests/{name}", headers=_accept(), allowed=(200, 404), actions=actions)
    if answer.status == 404:
        return None
    stated = _stated_digest(answer)
    if stated is None:  # registries need not send the header
        raw = get(transport, name)
        return RemoteDescriptor(raw.digest, raw.media_type, len(raw.data))
    size = answer.headers.get("Content-Length", "")
    return RemoteDescriptor(stated, _media_type(answer), int(size) if size.isdecimal() else None)


def get(transport: Transport, name: str) -> RawManifest:
    """Fetch a manifest's bytes.

    Raises:
        ManifestUnknown, RepositoryUnknown, ManifestTooLarge, TransferCorrupt.
    """
    answer = transport.request("GET", f"manifests/{name}", headers=_accept(), limit_bytes=LIMIT_BYTES)
    if answer.truncated:
        raise ManifestTooLarge(f"the manifest has more than {LIMIT_BYTES} bytes", where=answer.where)
    digest = Digest.of_bytes(answer.body)
    expected = Digest.parse(name) if name.startswith("sha256:") else _stated_digest(answer)
    if expected is not None and expected.algorithm == "sha256" and expected != digest:
        raise TransferCorrupt(
            f"the manifest should have the digest {expected} and has {digest}",
            where=answer.where,
            hint="something between here and the registry, such as a proxy, changes its responses",
        )
    return RawManifest(answer.body, _media_type(answer), digest)


def put(transport: Transport, data: bytes, media_type: str, name: str) -> PutResult:
    """Put a manifest's bytes.

    A registry on a filesystem may see a digest mismatch while another client writes the file; then they are sent again.

    Raises:
        RemoteBlobUnknown, TransferCorrupt.
    """
    digest = Digest.of_bytes(data)

    def once() -> Response:
        try:
            return transport.request(
                "PUT",
                f"manifests/{name}",
                headers={"Content-Type": media_type},
                body=data,
                allowed=(200, 201),
                actions="pull,push",
            )
        except RegistryFailure as error:
            error.retryable = error.registry_code == "DIGEST_INVALID"  # anything else was tried again already
            raise

    answer = retry(once, transport.settings.patience, classified)
    stated = _stated_digest(answer)
    if stated is not None and stated.algorithm == "sha256" and stated != digest:
        raise TransferCorrupt(f"the registry stored {stated} in place of {digest}", where=answer.where)
    return PutResult(digest, "OCI-Subject" in answer.headers)


def referrers(transport: Transport, subject: Digest) -> Iterator[bytes] | None:
    """The pages of the referrers list, at most `_MOST_PAGES`, each fetched on demand; None if the registry has no such
    API. Anything but 200 with an index counts as that, because some registries redirect to web pages instead."""
    first = _page(transport, f"referrers/{subject}")
    return None if first is None else _pages(transport, first)


def _pages(transport: Transport, first: Response) -> Iterator[bytes]:
    page, seen = first, {first.url}
    yield page.body
    while (following := next_page(page)) is not None and following not in seen and len(seen) < _MOST_PAGES:
        seen.add(following)
        if (answer := _page(transport, following)) is None:
            return
        page = answer
        yield page.body


def _page(transport: Transport, address: str) -> Response | None:
    answer = transport.request(
        "GET", address, headers={"Accept": OCI_INDEX}, limit_bytes=LIMIT_BYTES, allowed=None, redirects=False
    )
    refusal = failure(answer)
    if answer.status != 200 and (refusal.retryable or answer.status in (401, 403)):
        raise refusal
    if answer.status != 200 or _media_type(answer) != OCI_INDEX:
        return None
    if answer.truncated:
        raise ManifestTooLarge(f"the list of referrers has more than {LIMIT_BYTES} bytes", where=answer.where)
    return answer


def next_page(answer: Response) -> str | None:
    """The address of the next page in a `Link` header, if any."""
    link = answer.links.get("next")
    return None if link is None else resolved(answer.url, link)


def _accept() -> dict[str, str]:
    return {"Accept": ", ".join(ACCEPTED)}


def _media_type(answer: Response) -> str:
    return answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _stated_digest(answer: Response) -> Digest | None:
    try:
        return Digest.parse(answer.headers.get("Docker-Content-Digest", ""))
    except InvalidDigest:
        return None
