"""Downloads one blob from a registry into the store, verified while it streams and resumed after an interruption."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.oci.remote.error_mapping import classified
from mlxbuild.registry.oci.remote.errors import RegistryFailure, RegistryUnreachable, TransferCorrupt
from mlxbuild.registry.oci.remote.partial import PIECE_BYTES, Partial
from mlxbuild.registry.oci.remote.retry import retry
from mlxbuild.registry.oci.remote.transport import Transport
from mlxbuild.registry.store.layout import BlobCorrupt, Store
from mlxbuild.registry.store.leases import exclusive_file
from mlxbuild.registry.store.verified_blobs import VerifiedBlobs

_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


def fetch(transport: Transport, blob: Blob, store: Store, progress: Callable[[int], None] | None) -> int:
    """See `Remote.download_blob`."""
    cache, name = store.home.cache, blob.digest.hex
    advance = progress or _nothing
    lock = cache / "locks" / "blobs" / name
    with exclusive_file(lock, checkpoint=lambda: advance(0)):
        if _is_sound(store, blob, advance):
            advance(blob.size_bytes)
            lock.unlink(missing_ok=True)  # a process that waits for it will find the blob
            return 0
        with Partial(cache / "partial" / name, blob, progress) as partial:
            _complete(transport, partial)
            store.adopt(partial.path, blob)
            lock.unlink(missing_ok=True)
            return partial.received_bytes


def _is_sound(store: Store, blob: Blob, advance: Callable[[int], None]) -> bool:
    """Whether the store holds the blob undamaged; a damaged one is quarantined."""
    if not store.has(blob.digest) or store.size(blob.digest) != blob.size_bytes:
        return False
    try:
        VerifiedBlobs(store).require([blob.digest], lambda: advance(0))
    except BlobCorrupt:
        store.quarantine(blob.digest)
        return False
    return True


def read(transport: Transport, blob: Blob) -> bytes:
    """See `Remote.read_blob`."""
    answer = transport.request("GET", f"blobs/{blob.digest}", limit_bytes=blob.size_bytes)
    if answer.truncated or Digest.of_bytes(answer.body) != blob.digest:
        raise TransferCorrupt(f"the bytes received for {blob.digest} have another digest", where=answer.where)
    return answer.body


def read_range(transport: Transport, blob: Blob, begin: int, size_bytes: int) -> bytes:
    """See `Remote.read_range`."""
    headers = {"Range": f"bytes={begin}-{begin + size_bytes - 1}"}
    limit = begin + size_bytes  # a registry may send the whole blob
    answer = transport.request("GET", f"blobs/{blob.digest}", headers=headers, allowed=(200, 206), limit_bytes=limit)
    match = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", "")) if answer.status == 206 else None
    if answer.status == 206 and (match is None or int(match[1]) != begin):
        raise RegistryFailure("the registry sent another range than requested", where=answer.where)
    skip = begin if match is None else 0
    part = answer.body[skip : skip + size_bytes]
    if len(part) != size_bytes:
        raise RegistryFailure(f"{len(part)} bytes came of {size_bytes} that were requested", where=answer.where)
    return part


def _complete(transport: Transport, partial: Partial) -> None:
    """Download until all bytes are there and correct."""
    in_parts = True

    def once() -> None:
        nonlocal in_parts
        try:
            while partial.missing_bytes:
                in_parts = _attempt(transport, partial, in_parts=in_parts)
            partial.check()
        except TransferCorrupt:
            was_inherited = partial.inherited
            partial.restart()
            if not was_inherited:
                raise
            once()  # the wrong bytes may be from an earlier run

    try:
        retry(once, transport.settings.patience, classified, reached=lambda: partial.size_bytes)
    except TransferCorrupt as error:
        partial.path.unlink(missing_ok=True)
        error.where = f"{transport.endpoint.name}@{partial.blob.digest}"
        error.hint = "the registry, or a proxy, sends bytes that do not match the manifest"
        raise


def _attempt(transport: Transport, partial: Partial, *, in_parts: bool) -> bool:
    """Make one request; returns whether to ask for ranges again."""
    start = partial.size_bytes if in_parts else 0
    headers = {"Range": f"bytes={start}-"} if start else {}
    path = f"blobs/{partial.blob.digest}"
    with transport.reading(path, headers=headers, allowed=(200, 206, 416)) as response:
        if response.status_code != 200 and not start:
            raise RegistryFailure(
                "the registry sent a range that was not requested", where=f"{transport.endpoint.name}/{path}"
            )
        if response.status_code == 416 or (response.status_code == 206 and not _begins(response.headers, partial)):
            return False
        if response.status_code == 200:
            length = response.headers.get("Content-Length", "")
            if length.isdecimal() and int(length) != partial.blob.size_bytes:
                raise TransferCorrupt(f"{partial.blob.digest} has {length} bytes, not {partial.blob.size_bytes}")
            partial.restart()
        while piece := response.raw.read1(PIECE_BYTES, decode_content=False):
            partial.append(piece)
    if partial.missing_bytes:
        raise RegistryUnreachable("the answer ended early", where=f"{transport.endpoint.name}/{path}", retryable=True)
    return in_parts


def _begins(headers: Mapping[str, str], partial: Partial) -> bool:
    """Whether a response has the requested range; a registry that sends another one is asked for the whole blob."""
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
    return match is not None and int(match[1]) == partial.size_bytes and match[2] in ("*", str(partial.blob.size_bytes))


def _nothing(_count: int) -> None:
    return None
