"""The client of one repository at a registry. The requests themselves are in the files beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.oci.remote import download, listing, manifests, upload
from mlxbuild.registry.oci.remote.endpoint import Endpoint, locate
from mlxbuild.registry.oci.remote.manifests import PutResult, RawManifest, RemoteDescriptor
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.oci.remote.transport import Transport
from mlxbuild.registry.store.layout import Store

__all__ = ["Advance", "PutResult", "RawManifest", "Remote", "RemoteDescriptor"]

Advance = Callable[[int], None]
"""A function that gets the number of bytes transferred since the last call; a negative one if some were discarded.

It may raise to cancel a transfer: what was fetched is kept for the next one.
"""


class Remote:
    """A repository on a registry. Safe for many threads at once; memory does not grow with the size of blobs.

    Every request has time limits (`watch`), and ends when its thread is cancelled; connection errors, 408, 429 and 5xx
    are retried with backoff, or after the pause that the registry asks for; on 401 a new token is fetched once per
    request; credentials are sent to no other host.

    In addition to the errors that they list, all methods raise:
        RegistryUnreachable, RegistryTooSlow, RegistryBusy: the retries are used up.
        RegistryRefused: this user is not allowed to do that.
        RegistryFailure: the response is invalid.
    """

    def __init__(self, endpoint: Endpoint, settings: Settings, home: Home) -> None:
        self.endpoint = endpoint
        self.home = home
        self._transport = Transport(endpoint, settings)
        self._may_list_referrers = True

    @classmethod
    def open(cls, reference: Reference, settings: Settings, home: Home) -> Remote:
        """The repository of a reference; nothing is sent yet. A name without a host belongs to the default registry;
        `docker.io/hello` is `library/hello` at `registry-1.docker.io`.

        Raises:
            NoRegistry: there is no host and no default registry.
        """
        return cls(locate(reference, settings), settings, home)

    @classmethod
    def sources(cls, reference: Reference, settings: Settings, home: Home) -> tuple[Remote, ...]:
        """The places to read the content of a reference from, in order: its mirrors, then the registry itself.

        Mirrors are not trusted: their content has to match the requested digest.

        Raises:
            NoRegistry: there is no host and no default registry.
        """
        mirrors = locate(reference, settings).mirrors(settings)
        return tuple(cls(endpoint, settings, home) for endpoint in (*mirrors, locate(reference, settings)))

    @property
    def name(self) -> str:
        """The name as users write it, `host/repository`."""
        return self.endpoint.name

    @property
    def host(self) -> str:
        """The registry's host, as users write it."""
        return self.endpoint.host

    @property
    def repository(self) -> str:
        """The repository's path on the registry."""
        return self.endpoint.repository

    def ping(self) -> None:
        """Check that the registry answers and accepts the credentials.

        Raises:
            RegistryRefused: it does not.
        """
        self._transport.ping()

    def head_manifest(self, name: str | Digest, *, actions: str = "pull") -> RemoteDescriptor | None:
        """The digest, size and media type of the manifest of a tag or digest; None if it does not exist.

        Before a push, ask with its `actions`: a repository that does not exist yet may not grant `pull`.
        """
        return manifests.head(self._transport, str(name), actions)

    def get_manifest(self, name: str | Digest) -> RawManifest:
        """The unchanged bytes of a manifest or index, checked against the requested digest.

        Raises:
            ManifestUnknown, RepositoryUnknown: it does not exist.
            ManifestTooLarge: it has more than `manifests.LIMIT_BYTES`.
            TransferCorrupt: the bytes do not match the requested digest or the one in the response.
        """
        return manifests.get(self._transport, str(name))

    def put_manifest(self, data: bytes, media_type: str, name: str | Digest) -> PutResult:
        """Put exactly these bytes under a tag or their digest. Everything that they refer to has to exist already.

        `subject_accepted` tells that the registry maintains the list of referrers itself (`OCI-Subject`).

        Raises:
            RemoteBlobUnknown: the registry lacks a blob that the manifest refers to.
            TransferCorrupt: the registry computed another digest.
        """
        return manifests.put(self._transport, data, media_type, str(name))

    def referrers(self, subject: Digest) -> Iterator[bytes] | None:
        """The first pages of the referrers API for a subject, unchanged; None if the registry has no such API.

        A registry without the API is not asked again.
        """
        pages = manifests.referrers(self._transport, subject) if self._may_list_referrers else None
        self._may_list_referrers = pages is not None
        return pages

    def has_blob(self, digest: Digest) -> bool:
        """Whether the repository holds a blob, asked with push permission if there is one."""
        return upload.has(self._transport, digest)

    def mount_blob(self, digest: Digest, source_repository: str) -> bool:
        """Mount a blob of another repository of this registry in this one, without transferring bytes.

        False if the registry does not support it, or the blob does not exist or may not be read.
        """
        return upload.mount(self._transport, digest, source_repository)

    def download_blob(self, blob: Blob, store: Store, progress: Advance | None = None) -> int:
        """Download a blob into the store; returns the number of bytes transferred, 0 if the store holds it already.

        Each blob is downloaded only once at a time on this machine: a second caller waits, and then finds it. An
        interrupted download is resumed, with the kept part hashed again; size and digest are checked on the way.

        Raises:
            RemoteBlobUnknown: the repository does not hold it.
            TransferCorrupt: the bytes were wrong twice; none of them are kept.
            DiskFull, StoreReadOnly, StoreFailure: what was fetched is kept where possible.
        """
        return download.fetch(self._transport, blob, store, progress)

    def read_blob(self, blob: Blob) -> bytes:
        """Read a small blob without storing it.

        Raises:
            RemoteBlobUnknown: the repository does not hold it.
            TransferCorrupt: the bytes do not match its digest.
        """
        return download.read(self._transport, blob)

    def read_range(self, blob: Blob, begin: int, size_bytes: int) -> bytes:
        """Read a range within a blob. The bytes are not verified.

        Raises:
            RemoteBlobUnknown: the repository does not hold it.
        """
        return download.read_range(self._transport, blob, begin, size_bytes)

    def upload_blob(self, blob: Blob, store: Store, progress: Advance | None = None) -> int:
        """Upload a blob of the store; returns the number of bytes sent, 0 if the repository holds it already.

        An interrupted upload is resumed at the offset that the registry reports, if it can; else it restarts.

        Raises:
            BlobMissing: the store does not hold it.
            BlobCorrupt: the store's file has the wrong size; nothing is sent.
            TransferCorrupt: the registry computed another digest.
        """
        return upload.send(self._transport, blob, store, progress)

    def copy_blob(self, blob: Blob, source: Remote, progress: Advance | None = None) -> int:
        """Bring a blob of another registry into this repository without keeping it here: mounted where that can be,
        else streamed and checked on the way. Returns how many bytes were sent.

        Raises:
            RemoteBlobUnknown: the source does not hold it.
            TransferCorrupt: other bytes came from the source; the registry keeps none of them.
        """
        return upload.relay(self._transport, blob, source._transport, progress)

    def tags(self) -> Iterator[str]:
        """All tags of the repository, fetched page by page.

        Raises:
            RepositoryUnknown: there is no such repository.
        """
        return listing.tags(self._transport)

    def catalogue(self, prefix: str = "") -> Iterator[str]:
        """All repositories of the registry whose path begins with `prefix`, page by page, if it lists them."""
        return listing.catalogue(self._transport, prefix)

    def close(self) -> None:
        """Close idle connections; the object can still be used."""
        self._transport.close()
