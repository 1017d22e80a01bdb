"""One repository on one registry, as everything above uses it. How requests are made lies in the files beside it."""

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
"""Gets the number of bytes that came to their place since the last call; a negative one when some were thrown away.

It may raise to give a transfer up: what was fetched is kept for the next one.
"""


class Remote:
    """A repository on a registry. Safe for many threads at once; memory does not grow with the size of blobs.

    Every request has time limits (`watch`), and ends where its thread is cancelled; connection errors, 408, 429 and 5xx
    are tried again with the pause that the registry asks for; 401 gets a new token once a request; credentials go to no
    other host.

    All methods raise, besides what they name:
        RegistryUnreachable, RegistryTooSlow, RegistryBusy: no use of waiting longer.
        RegistryRefused: this user may not do that.
        RegistryFailure: an answer that makes no sense.
    """

    def __init__(self, endpoint: Endpoint, settings: Settings, home: Home) -> None:
        self.endpoint = endpoint
        self.home = home
        self._transport = Transport(endpoint, settings)
        self._may_list_referrers = True

    @classmethod
    def open(cls, reference: Reference, settings: Settings, home: Home) -> Remote:
        """The repository that a reference names; nothing is sent yet. A name without a host belongs to the default
        registry; `docker.io/hello` is `library/hello` at `registry-1.docker.io`.

        Raises:
            NoRegistry: there is no host and no default registry.
        """
        return cls(locate(reference, settings), settings, home)

    @classmethod
    def sources(cls, reference: Reference, settings: Settings, home: Home) -> tuple[Remote, ...]:
        """Where the content of a reference may be read, in the order to try: its mirrors, then the registry itself.

        Mirrors are not trusted: what they give has to have the digest that was asked for.

        Raises:
            NoRegistry: there is no host and no default registry.
        """
        mirrors = locate(reference, settings).mirrors(settings)
        return tuple(cls(endpoint, settings, home) for endpoint in (*mirrors, locate(reference, settings)))

    @property
    def name(self) -> str:
        """`host/repository`, as people write it."""
        return self.endpoint.name

    @property
    def host(self) -> str:
        """The registry's host, as people write it."""
        return self.endpoint.host

    @property
    def repository(self) -> str:
        """The repository's path on the registry."""
        return self.endpoint.repository

    def ping(self) -> None:
        """Check that the registry answers and takes the credentials.

        Raises:
            RegistryRefused: it does not.
        """
        self._transport.ping()

    def head_manifest(self, name: str | Digest, *, actions: str = "pull") -> RemoteDescriptor | None:
        """Digest, size and media type of a tag's or digest's manifest; None if the repository has none.

        Who is about to push asks with those `actions`: a repository that is not there yet may be pulled by nobody.
        """
        return manifests.head(self._transport, str(name), actions)

    def get_manifest(self, name: str | Digest) -> RawManifest:
        """The bytes of a manifest or index exactly as the registry holds them, checked against the digest asked for.

        Raises:
            ManifestUnknown, RepositoryUnknown: it is not there.
            ManifestTooLarge: it has more than `manifests.LIMIT_BYTES`.
            TransferCorrupt: the bytes have another digest than the one asked for or the one told.
        """
        return manifests.get(self._transport, str(name))

    def put_manifest(self, data: bytes, media_type: str, name: str | Digest) -> PutResult:
        """Store exactly these bytes under a tag or their digest. All that they name has to be there already.

        `subject_accepted` tells that the registry keeps the list of referrers itself (`OCI-Subject`).

        Raises:
            RemoteBlobUnknown: the registry misses a blob that the manifest names.
            TransferCorrupt: the registry computed another digest.
        """
        return manifests.put(self._transport, data, media_type, str(name))

    def delete_manifest(self, digest: Digest) -> None:
        """Delete a manifest and all its tags; nothing happens if it is not there.

        Raises:
            RegistryFailure: this registry deletes nothing (405).
        """
        manifests.delete(self._transport, digest)

    def referrers(self, subject: Digest) -> Iterator[bytes] | None:
        """The first pages of the referrers API for a subject, as sent; None if the registry has no such API.

        One that has none is not asked again.
        """
        pages = manifests.referrers(self._transport, subject) if self._may_list_referrers else None
        self._may_list_referrers = pages is not None
        return pages

    def has_blob(self, digest: Digest) -> bool:
        """Whether the repository holds a blob, asked with the permission to push where there is one."""
        return upload.has(self._transport, digest)

    def mount_blob(self, digest: Digest, source_repository: str) -> bool:
        """Make a blob of another repository of this registry part of this one, without moving bytes.

        False if the registry does not do it, or the blob is not there, or may not be read.
        """
        return upload.mount(self._transport, digest, source_repository)

    def download_blob(self, blob: Blob, store: Store, progress: Advance | None = None) -> int:
        """Bring a blob into the store; returns how many bytes were moved, 0 if it was there already.

        One blob is fetched once at a time on this machine: a second caller waits, and finds it. An interrupted fetch
        goes on where it stopped, with the kept part hashed again; size and digest are checked while bytes pass.

        Raises:
            RemoteBlobUnknown: the repository does not hold it.
            TransferCorrupt: twice other bytes came; nothing of them is kept.
            DiskFull, StoreReadOnly, StoreFailure: what was fetched is kept where possible.
        """
        return download.fetch(self._transport, blob, store, progress)

    def read_blob(self, blob: Blob) -> bytes:
        """The content of a small blob, which comes into no store.

        Raises:
            RemoteBlobUnknown: the repository does not hold it.
            TransferCorrupt: other bytes came.
        """
        return download.read(self._transport, blob)

    def read_range(self, blob: Blob, begin: int, size_bytes: int) -> bytes:
        """A part of a blob, which lies within it. Nothing proves that these are its bytes.

        Raises:
            RemoteBlobUnknown: the repository does not hold it.
        """
        return download.read_range(self._transport, blob, begin, size_bytes)

    def upload_blob(self, blob: Blob, store: Store, progress: Advance | None = None) -> int:
        """Bring a blob of the store into the repository; returns how many bytes were sent, 0 if it was there already.

        An interrupted upload goes on where the registry says it stopped, if it can; else it starts again.

        Raises:
            BlobMissing: the store does not hold it.
            BlobCorrupt: the store's file has another size; nothing is sent.
            TransferCorrupt: the registry says that the bytes have another digest.
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
        """All tags of the repository, page by page.

        Raises:
            RepositoryUnknown: there is no such repository.
        """
        return listing.tags(self._transport)

    def catalogue(self, prefix: str = "") -> Iterator[str]:
        """All repositories of the registry whose path begins with `prefix`, page by page, if it tells them."""
        return listing.catalogue(self._transport, prefix)

    def close(self) -> None:
        """Close idle connections; the object can still be used."""
        self._transport.close()
