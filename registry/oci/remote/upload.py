"""Blob uploads to a repository: existing blobs are skipped, others are mounted, sent whole or sent in chunks."""

from __future__ import annotations

import re
from collections.abc import Callable

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.oci.remote import sessions
from mlxbuild.registry.oci.remote.bodies import FilePart, Relay, Sent, opened
from mlxbuild.registry.oci.remote.error_mapping import classified
from mlxbuild.registry.oci.remote.errors import RegistryBusy, RegistryRefused, RegistryUnreachable
from mlxbuild.registry.oci.remote.retry import retry
from mlxbuild.registry.oci.remote.sessions import ChunkedUpload
from mlxbuild.registry.oci.remote.transport import Body, Transport
from mlxbuild.registry.store.layout import Store

# Registries that accept only whole blobs (a list from KitOps): ghcr.io refuses chunks above 4 MiB, Google's have no
# chunks, and Amazon's answers the first chunk as if it were the last.
_WHOLE_ONLY = re.compile(r"ghcr\.io|(?:.+\.)?gcr\.io|.+-docker\.pkg\.dev|.+\.dkr\.ecr\..+|public\.ecr\.aws")


def has(transport: Transport, digest: Digest) -> bool:
    """See `Remote.has_blob`. Asked with push permission, as new repositories are hidden from readers."""
    return transport.request("HEAD", f"blobs/{digest}", allowed=(200, 404), actions=sessions.ACTIONS).status == 200


def mount(transport: Transport, digest: Digest, source_repository: str) -> bool:
    """See `Remote.mount_blob`."""
    try:
        answer = transport.request(
            "POST",
            f"blobs/uploads/?mount={digest}&from={source_repository}",
            allowed=None,
            actions=sessions.ACTIONS,
            other_scopes=(f"repository:{source_repository}:pull",),
        )
    except (RegistryRefused, RegistryBusy):  # no token for the other repository, or busy: send it
        return False
    if answer.status == 202:  # the registry began an upload instead
        sessions.cancel(transport, sessions.location(transport, answer))
    return answer.status == 201


def send(transport: Transport, blob: Blob, store: Store, progress: Callable[[int], None] | None) -> int:
    """See `Remote.upload_blob`."""
    sent = Sent(progress)
    if has(transport, blob.digest):
        sent.move(blob.size_bytes)
        return 0
    store.check_size(blob)
    with opened(store.path(blob.digest)) as descriptor:
        chunked = blob.size_bytes > transport.settings.chunk_bytes
        if chunked and _WHOLE_ONLY.fullmatch(transport.endpoint.address) is None:
            upload = ChunkedUpload(transport, blob, descriptor, sent)
            if _retried(transport, blob, sent, upload.run, lambda: upload.confirmed_bytes):
                return sent.total_bytes
        whole: Body = b"" if not blob.size_bytes else lambda: FilePart(descriptor, 0, blob.size_bytes, sent)
        _retried(transport, blob, sent, lambda: _whole(transport, blob, whole))
    return sent.total_bytes


def relay(transport: Transport, blob: Blob, source: Transport, progress: Callable[[int], None] | None) -> int:
    """See `Remote.copy_blob`."""
    sent = Sent(progress)
    if has(transport, blob.digest) or (
        source.endpoint.origin == transport.endpoint.origin
        and mount(transport, blob.digest, source.endpoint.repository)
    ):
        sent.move(blob.size_bytes)
        return 0

    def once() -> bool:
        with source.reading(f"blobs/{blob.digest}") as response:
            bodies = [Relay(response.raw, blob, sent)]

            def body() -> Relay:
                if not bodies:
                    raise RegistryUnreachable(
                        "the upload has to start again, because its source can be read only once", retryable=True
                    )
                return bodies.pop()

            return _whole(transport, blob, body if blob.size_bytes else b"")

    _retried(transport, blob, sent, once)
    return sent.total_bytes


def _whole(transport: Transport, blob: Blob, body: Body) -> bool:
    address, _ = sessions.begin(transport)
    sessions.finish(transport, address, blob, body)
    return True


def _retried(
    transport: Transport,
    blob: Blob,
    sent: Sent,
    once: Callable[[], bool],
    confirmed: Callable[[], int] = lambda: 0,
) -> bool:
    """Upload with retries. Only attempts after which the registry confirms no more than before are counted."""

    def settled() -> bool | None:
        """True if the registry holds the blob: only the response was lost."""
        if not has(transport, blob.digest):
            return None
        sent.move(blob.size_bytes)
        return True

    return retry(once, transport.settings.patience, classified, reached=confirmed, settled=settled)
