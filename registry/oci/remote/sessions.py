"""Upload sessions of the distribution-spec: begin, send chunks, ask for the offset, finish and cancel."""

from __future__ import annotations

import re
from contextlib import suppress
from urllib.parse import urlsplit

from mlxbuild.registry.core.digest import Blob
from mlxbuild.registry.oci.remote.bodies import FilePart, Sent
from mlxbuild.registry.oci.remote.error_mapping import failure
from mlxbuild.registry.oci.remote.errors import RegistryFailure, TransferCorrupt
from mlxbuild.registry.oci.remote.response import Response, place, resolved
from mlxbuild.registry.oci.remote.transport import Body, Transport

ACTIONS = "pull,push"
_RANGE = re.compile(r"(?:bytes=)?0-(\d+)")
_BYTES = {"Content-Type": "application/octet-stream"}


def begin(transport: Transport) -> tuple[str, int]:
    """Begin a session; returns its address and the minimum chunk size in bytes (`OCI-Chunk-Min-Length`)."""
    answer = transport.request("POST", "blobs/uploads/", allowed=(202,), actions=ACTIONS, retries=False)
    least = answer.headers.get("OCI-Chunk-Min-Length", "")
    return location(transport, answer), int(least) if least.isdecimal() else 0


def finish(transport: Transport, address: str, blob: Blob, body: Body) -> None:
    """Finish a session with the last bytes, or with all of them.

    Raises:
        TransferCorrupt: the registry computed another digest.
        RegistryFailure: the request failed; it is not retried, even if the error is temporary.
    """
    joint = "&" if urlsplit(address).query else "?"
    answer = transport.request(
        "PUT",
        f"{address}{joint}digest={blob.digest}",
        headers=_BYTES,
        body=body,
        allowed=None,
        actions=ACTIONS,
        retries=False,
        unsettled_bytes=blob.size_bytes,
    )
    if answer.status in (200, 201, 204):
        return
    error = failure(answer)
    if error.registry_code == "DIGEST_INVALID":
        raise TransferCorrupt(
            f"the registry did not receive the bytes of {blob.digest}",
            where=answer.where,
            hint="run `mlxbuild verify`; if the artifact is intact, something on the way changes bytes",
        )
    raise error


def cancel(transport: Transport, address: str) -> None:
    """Cancel a session; failures are ignored."""
    with suppress(RegistryFailure):
        transport.request("DELETE", address, allowed=None, actions=ACTIONS, retries=False)


def location(transport: Transport, answer: Response) -> str:
    """The address for the next request of a session, from the `Location` of a response.

    Raises:
        RegistryFailure: there is none, or it would leave https.
    """
    header = answer.headers.get("Location")
    if not header:
        raise RegistryFailure("the registry began an upload without giving its address", where=answer.where)
    address = resolved(answer.url, header)
    if transport.endpoint.scheme == "https" and not address.startswith("https://"):
        if urlsplit(address).hostname != urlsplit(answer.url).hostname:
            raise RegistryFailure(
                f"the registry wants bytes at {place('', address).strip()}, which is not encrypted", where=answer.where
            )
        # The registry is behind a proxy that terminates TLS; the path is right.
        address = urlsplit(address)._replace(scheme="https", netloc=urlsplit(answer.url).netloc).geturl()
    return address


class ChunkedUpload:
    """Uploads one blob in chunks. After a failure `run` resumes at the offset that the registry reports."""

    def __init__(self, transport: Transport, blob: Blob, descriptor: int, sent: Sent) -> None:
        self.confirmed_bytes = 0
        """The offset that the registry has confirmed."""
        self._transport = transport
        self._blob = blob
        self._descriptor = descriptor
        self._sent = sent
        self._address: str | None = None
        self._chunk_bytes = transport.settings.chunk_bytes

    def run(self) -> bool:
        """Send the missing bytes; False if the registry does not accept chunks, in which case it kept nothing.

        Raises:
            RegistryFailure: after a temporary (`retryable`) one, call this again.
        """
        address = self._resumed() or self._begun()
        while self._sent.offset < self._blob.size_bytes:
            begin_at = self._sent.offset
            end = min(begin_at + self._chunk_bytes, self._blob.size_bytes)
            answer = self._send(address, begin_at, end)
            if answer.status != 202:
                if begin_at == 0 and answer.status in (201, 400, 404, 405, 411, 413, 415, 416, 501):
                    cancel(self._transport, address)
                    return False
                error = failure(answer)
                error.retryable = error.retryable or answer.status in (404, 416)  # then it is restarted or resumed
                raise error
            address = self._address = location(self._transport, answer)
            self._reached(answer, end)
        finish(self._transport, address, self._blob, b"")
        return True

    def _begun(self) -> str:
        self._address, least = begin(self._transport)
        self._chunk_bytes = max(self._transport.settings.chunk_bytes, least)
        self._sent.move(0)
        return self._address

    def _resumed(self) -> str | None:
        if self._address is None:
            return None
        answer = self._transport.request("GET", self._address, allowed=None, actions=ACTIONS, retries=False)
        if answer.status not in (202, 204):
            self._address = None
            return None
        if "Location" in answer.headers:
            self._address = location(self._transport, answer)
        self._reached(answer, 0)
        return self._address

    def _send(self, address: str, begin_at: int, end: int) -> Response:
        return self._transport.request(
            "PATCH",
            address,
            headers={**_BYTES, "Content-Range": f"{begin_at}-{end - 1}"},
            body=lambda: FilePart(self._descriptor, begin_at, end, self._sent),
            allowed=None,
            actions=ACTIONS,
            retries=False,
        )

    def _reached(self, answer: Response, otherwise: int) -> None:
        """Take the offset from the registry's `Range`. `0-0` could mean one byte or none, and is taken as none."""
        match = _RANGE.fullmatch(answer.headers.get("Range", ""))
        offset = otherwise if match is None else int(match[1]) + 1
        offset = 0 if offset == 1 else offset
        if offset > self._blob.size_bytes:
            raise RegistryFailure("the registry reports more bytes than were sent", where=answer.where)
        self._sent.move(offset)
        self.confirmed_bytes = max(self.confirmed_bytes, offset)
