"""Events as JSON records, one per line, in the log of a run and on stderr with `create --progress json`.

Their JSON Schema is made in `toolchain.events.schema`. Records are read back in `toolchain.events.reading`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TextIO

from mlxbuild.toolchain.events.model import ActionFinished, ActionProgress, Event

VERSION = 1
ENVELOPE = ("version", "at", "event")
"""Fields of a record besides those of its event."""
_PROGRESS_SECONDS = 0.5
"""Minimum interval between two progress records of an action."""

Record = dict[str, Any]

_encode = json.JSONEncoder(ensure_ascii=False).encode
_encode_ascii = json.JSONEncoder().encode


def record_of(event: Event, at: float) -> Record:
    """An event as JSON; `at` is in seconds since the command started. Fields that are None are left out."""
    given = {field.name: value for field in fields(event) if (value := getattr(event, field.name)) is not None}
    return {"version": VERSION, "at": round(at, 4), "event": type(event).__name__, **given}


def line_of(record: Mapping[str, Any]) -> str:
    """A record as a line of JSON."""
    return _encode(record) + "\n"


class JsonLines:
    """A sink that writes every event as a line of ASCII, for programs that follow a build."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._begun = time.monotonic()
        self._done_bytes: dict[str, int] = {}
        self._told: dict[str, float] = {}

    def handle(self, event: Event) -> None:
        """Write the event; progress of an action is written only now and then."""
        now = time.monotonic()
        match event:
            case ActionProgress(label, done_bytes):
                done_bytes += self._done_bytes.pop(label, 0)
                if now - self._told.get(label, self._begun) < _PROGRESS_SECONDS:
                    self._done_bytes[label] = done_bytes
                    return
                self._told[label] = now
                event = ActionProgress(label, done_bytes)
            case ActionFinished(label):
                self._done_bytes.pop(label, None)
                self._told.pop(label, None)
        self._out.write(_encode_ascii(record_of(event, now - self._begun)) + "\n")
        self._out.flush()

    def close(self) -> None:
        """See `Sink.close`."""
        self._out.flush()
