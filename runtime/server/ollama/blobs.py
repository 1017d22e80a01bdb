"""`/api/blobs/:digest`: blobs that clients upload, for `create` to build from."""

from __future__ import annotations

import contextlib
import errno
import re
import shutil
from functools import partial
from urllib.parse import unquote

from sanic import Request
from sanic.response import HTTPResponse, empty

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.store.durable import disk_errors
from mlxbuild.registry.store.errors import BlobCorrupt
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.tags import UnknownReference
from mlxbuild.runtime.server.application import application_of
from mlxbuild.runtime.server.bodies.reading import blob_limit, body_pieces, content_length
from mlxbuild.runtime.server.failures import InvalidRequest
from mlxbuild.runtime.server.long_task import in_thread

_DIGEST = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")
_PIECE_BYTES = 4 * 1024 * 1024
LEFT_FREE_BYTES = 256 * 1024 * 1024
"""The disk space that uploaded blobs leave free."""


def blob_digest(written: str) -> Digest:
    """Parse `sha256:` or `sha256-`, and 64 hexadecimal digits.

    Raises:
        InvalidRequest: the text has another form.
    """
    match = _DIGEST.fullmatch(unquote(written))
    if match is None:
        raise InvalidRequest("invalid digest format", hint="write sha256: and 64 hexadecimal digits")
    return Digest("sha256", match[1].lower())


async def check_blob(request: Request, digest: str) -> HTTPResponse:
    """Tell whether a blob exists."""
    named = blob_digest(digest)
    if not application_of(request).store.has(named):
        raise UnknownReference(f'blob "{named}" not found')
    return empty(200)


async def upload_blob(request: Request, digest: str) -> HTTPResponse:
    """Add a blob to the store, unless it exists."""
    named, application = blob_digest(digest), application_of(request)
    store, limit = application.store, blob_limit(application.settings)
    if store.has(named):
        return empty(200)
    check_room(store, content_length(request, limit))
    waiting = bytearray()
    with store.writer() as writer:
        async with contextlib.aclosing(body_pieces(request, limit, application.settings.body_seconds)) as pieces:
            async for piece in pieces:
                waiting += piece
                if len(waiting) >= _PIECE_BYTES:
                    check_room(store, len(waiting))
                    await in_thread(partial(writer.write, bytes(waiting)))
                    waiting.clear()
        await in_thread(partial(writer.write, waiting))
        try:
            await in_thread(partial(writer.commit, named))
        except BlobCorrupt as error:
            raise InvalidRequest(f"digest mismatch, {error.message}") from None
    return empty(201)


def check_room(store: Store, size_bytes: int) -> None:
    """Check that the disk has space for that many more bytes, and `LEFT_FREE_BYTES` besides.

    Raises:
        DiskFull: the disk has less space.
    """
    free = shutil.disk_usage(store.home.root).free
    if size_bytes + LEFT_FREE_BYTES > free:
        with disk_errors(store.home.root):
            reason = f"of the {free} bytes that are free, {size_bytes} are asked for, and {LEFT_FREE_BYTES} are kept"
            raise OSError(errno.ENOSPC, reason)
