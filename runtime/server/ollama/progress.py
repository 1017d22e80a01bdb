"""Writes the progress of transfers and builds in the native format, one object for each change."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from sanic import Request
from sanic.response import HTTPResponse

from mlxbuild.registry.core import cancellation
from mlxbuild.registry.oci.exchange.progress import (
    BlobAdvanced,
    BlobEnded,
    Event,
    EvidenceLeftOut,
    MirrorLeftOut,
    NamedBlob,
    Warned,
)
from mlxbuild.runtime.server.ollama.inference import json_answer
from mlxbuild.runtime.server.responses.encoding import json_line
from mlxbuild.runtime.server.responses.native_format import NATIVE_FORMAT
from mlxbuild.runtime.server.responses.streams import AnswerStream

SUCCESS = {"status": "success"}


@dataclass(frozen=True, slots=True)
class TransferMessages:
    """Ollama's status messages of a transfer, which its clients show."""

    moving: str
    first: tuple[str, ...]
    last: tuple[str, ...]


PULL = TransferMessages("pulling", ("pulling manifest",), ("verifying sha256 digest", "writing manifest"))
PUSH = TransferMessages("pushing", ("retrieving manifest",), ("pushing manifest",))


@dataclass
class TransferNews:
    """Collects the progress of a transfer in other threads until it is read."""

    wording: TransferMessages
    _completed: dict[NamedBlob, int] = field(default_factory=dict)
    _changed: dict[NamedBlob, None] = field(default_factory=dict)
    _notes: list[str] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)

    def observe(self, event: Event) -> None:
        """Record an event; may be called from any thread."""
        cancellation.checkpoint()
        with self._lock:
            self._note(event)

    def _note(self, event: Event) -> None:
        match event:
            case BlobAdvanced(item, count):
                self._completed[item] = self._completed.get(item, 0) + count
                self._changed[item] = None
            case BlobEnded(item):
                self._completed[item] = item.blob.size_bytes
                self._changed[item] = None
            case EvidenceLeftOut(digest, reason):
                self._notes.append(f"warning: {digest} is left out: {reason}")
            case MirrorLeftOut(name, reason):
                self._notes.append(f"warning: the mirror {name} is left out: {reason}")
            case Warned(message):
                self._notes.append(message)

    def told(self) -> list[dict[str, Any]]:
        """Take the new progress: one object for each warning, and for each blob that advanced."""
        with self._lock:
            changed = [(item, self._completed[item]) for item in self._changed]
            notes = [{"status": note} for note in self._notes]
            self._changed.clear()
            self._notes.clear()
        return notes + [self._line(item, completed) for item, completed in changed]

    def _line(self, item: NamedBlob, completed: int) -> dict[str, Any]:
        return {
            "status": f"{self.wording.moving} {item.blob.digest.hex[:12]}",
            "digest": str(item.blob.digest),
            "total": item.blob.size_bytes,
            "completed": completed,
        }


async def tell_progress(
    request: Request,
    progress: AsyncGenerator[dict[str, Any], None],
    *,
    first: tuple[str, ...] = (),
    last: tuple[str, ...] = (),
    streams: bool,
) -> HTTPResponse | None:
    """Answer with a stream of progress, or only with the result."""
    if not streams:
        async for _ in progress:
            pass
        return json_answer(SUCCESS)
    async with AnswerStream(request, NATIVE_FORMAT) as stream:
        for status in first:
            await stream.send(json_line({"status": status}))
        async for told in progress:
            await stream.send(json_line(told))
        for status in last:
            await stream.send(json_line({"status": status}))
        await stream.send(json_line(SUCCESS))
    return None
