"""The trace store: maps keys to outputs and keeps the pre-image of each key.

A trace is a small file `cache/traces/<2 hex>/<key>.json`. It is only a claim: if its outputs are gone from the store,
it is a cache miss, and an unreadable file counts as no trace. Writes are atomic but not durable: losing a trace to a
power cut costs one action. A trace holds its key and its own digest, so a renamed or modified one is ignored. Traces of
earlier versions lack both and are checked against their record, whose digest is the key.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlxbuild.registry.core import canonical_json
from mlxbuild.registry.core.digest import Blob, Digest, InvalidDigest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.durable import disk_errors
from mlxbuild.registry.store.layout import BlobMissing, Store
from mlxbuild.toolchain.core.action import ActionRecord
from mlxbuild.toolchain.core.action_key import action_key, record_from_json, record_to_json


@dataclass(frozen=True, slots=True)
class Trace:
    """The recorded result of an action."""

    key: Digest
    record: ActionRecord
    outputs: Mapping[str, Blob]
    seconds: float
    """How long the step took; used for estimates."""
    stamps: Mapping[str, int] = field(default_factory=dict)
    """Output name to the blob file's modification time in nanoseconds; after a change the blob is verified again."""


class TraceStore:
    """The traces in one home folder."""

    def __init__(self, home: Home) -> None:
        self._root = home.cache / "traces"

    def find(self, key: Digest) -> Trace | None:
        """The trace of a key, or None. The caller checks whether its outputs still exist."""
        try:
            with open(self._location(key), "rb", buffering=0) as file:  # noqa: PTH123  # builds look for hundreds
                return _parse(key, file.readall())
        except (OSError, *_DAMAGED):
            return None

    def put(self, trace: Trace) -> Mapping[str, Blob] | None:
        """Store a trace; if the key has one already, the first stays.

        Returns:
            The earlier outputs if they differ from these (the step is not deterministic), else None.
        """
        earlier = self.find(trace.key)
        if earlier is not None and dict(earlier.outputs) != dict(trace.outputs):
            self._write(self._path(trace.key).with_suffix(f".{_result_digest(trace).short}.json"), trace)
            return earlier.outputs
        self._write(self._path(trace.key), trace)
        return None

    def replace(self, trace: Trace) -> None:
        """Store a trace, replacing any other trace of its key."""
        self._write(self._path(trace.key), trace)

    def touch(self, key: Digest) -> None:
        """Record that a trace was used just now."""
        try:
            os.utime(self._location(key))
        except OSError:
            return

    def all(self) -> Iterator[tuple[Trace, float]]:
        """Every trace with the time of its last use, in seconds since the epoch."""
        for path in sorted(self._root.glob("??/*.json")):
            try:
                key = Digest("blake3", path.name.split(".", 1)[0])
                yield _parse(key, path.read_bytes()), path.stat().st_mtime
            except (OSError, *_DAMAGED):
                continue

    def remove(self, key: Digest) -> None:
        """Remove a trace."""
        self._path(key).unlink(missing_ok=True)

    def _location(self, key: Digest) -> str:
        return f"{self._root}/{key.hex[:2]}/{key.hex}.json"

    def _path(self, key: Digest) -> Path:
        return Path(self._location(key))

    def _write(self, path: Path, trace: Trace) -> None:
        content = _content(trace)
        draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        with disk_errors(path):
            try:
                draft.write_bytes(content)
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                draft.write_bytes(content)
            os.replace(draft, path)  # noqa: PTH105 - Path.replace builds another Path on a hot path


_DAMAGED = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, InvalidDigest)
"""The exceptions that parsing a damaged trace raises."""


def _content(trace: Trace) -> bytes:
    content = {
        "key": str(trace.key),
        "record": record_to_json(trace.record),
        "outputs": {
            name: {"digest": str(blob.digest), "size": blob.size_bytes} for name, blob in trace.outputs.items()
        },
        "seconds": round(trace.seconds, 4),
        "stamps": trace.stamps,
    }
    return canonical_json.encode({**content, "digest": _digest_of(content)})


def _digest_of(content: Mapping[str, Any]) -> str:
    return str(Digest.of_bytes(canonical_json.encode(content)))


def _parse(key: Digest, written: bytes) -> Trace:
    data = json.loads(written)
    digest = data.pop("digest", None)
    if digest is not None and (digest, data["key"]) != (_digest_of(data), str(key)):
        raise ValueError("it was changed, or belongs to another key")
    trace = _trace(key, data)
    if digest is None and action_key(trace.record) != key:
        raise ValueError("it belongs to another key")
    return trace


def _trace(key: Digest, data: Mapping[str, Any]) -> Trace:
    return Trace(
        key=key,
        record=record_from_json(data["record"]),
        outputs={name: Blob(Digest.parse(blob["digest"]), int(blob["size"])) for name, blob in data["outputs"].items()},
        seconds=float(data["seconds"]),
        stamps=data.get("stamps", {}),
    )


def _result_digest(trace: Trace) -> Digest:
    return Digest.of_bytes(canonical_json.encode({n: str(b.digest) for n, b in trace.outputs.items()}))


def stamp_of(store: Store, blob: Blob) -> int | None:
    """A blob file's modification time in nanoseconds; None if it is missing or has another size."""
    try:
        status = store.status(blob.digest)
    except BlobMissing:
        return None
    return status.st_mtime_ns if status.st_size == blob.size_bytes else None
