"""Sends requests to an engine, many at once, and collects their events."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from mlxbuild.runtime.engine.core.batching import Batching
from mlxbuild.runtime.engine.core.engine import Engine
from mlxbuild.runtime.engine.core.limits import Limits
from mlxbuild.runtime.engine.core.loop import Ticket
from mlxbuild.runtime.engine.core.options import Options
from mlxbuild.runtime.engine.core.prepared_request import Prepared
from mlxbuild.runtime.engine.core.streams import is_last
from mlxbuild.runtime.model.tokenizer import Tokenizer
from mlxbuild.runtime.protocol.events import Chunk, Event, Failure, GenerationFinished, Progress
from tests.runtime.tiny_folders import byte_tokenizer

TOKENIZER = Tokenizer(byte_tokenizer())
PLENTY = Limits(prefill_chunk_tokens=64, cache_bytes=1 << 34, prefix_bytes=1 << 26)


@contextmanager
def engine_of(model: Any, limits: Limits = PLENTY, batching: Batching | None = None) -> Iterator[Engine]:
    """An engine that is closed at the end."""
    engine = Engine(model, TOKENIZER, limits, batching=batching)
    try:
        yield engine
    finally:
        engine.close()


@dataclass
class Asked:
    """One request and its events."""

    ticket: Ticket = field(default_factory=lambda: Ticket(0))
    """The first ticket is 1."""
    events: list[Event] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def take(self, events: Sequence[Event]) -> None:
        self.events += events
        if events and is_last(events[-1]):
            self.over.set()

    def wait(self) -> Asked:
        assert self.over.wait(60), "no ending came"
        return self

    @property
    def tokens(self) -> list[int]:
        failed = self.events[-1] if self.events and isinstance(self.events[-1], Failure) else None
        assert failed is None, failed
        return [event.token for event in self.events if isinstance(event, Chunk) and event.token is not None]

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, Chunk))

    @property
    def finish(self) -> GenerationFinished:
        last = self.events[-1]
        assert isinstance(last, Chunk), last
        assert last.finish is not None
        return last.finish

    @property
    def failure(self) -> Failure:
        last = self.events[-1]
        assert isinstance(last, Failure), last
        return last

    @property
    def progress(self) -> list[Progress]:
        return [event for event in self.events if isinstance(event, Progress)]


def prepared(tokens: Sequence[int], limit: int | None = 12, **options: Any) -> Prepared:
    """A request without stop tokens."""
    return Prepared(tuple(tokens), Options(max_tokens=limit, **options), limit=limit)


def ask(engine: Engine, *requests: Prepared) -> list[Asked]:
    """Submit all requests at once."""
    asked = [Asked() for _ in requests]
    for one, request in zip(asked, requests, strict=True):
        one.ticket = engine.submit(request, one.take)
    return asked


def answers(engine: Engine, *requests: Prepared) -> list[Asked]:
    """Submit all requests at once, and wait for all answers."""
    return [one.wait() for one in ask(engine, *requests)]


def words(seed: int, count: int) -> list[int]:
    """A prompt of that many tokens, which depends on the seed."""
    return [(seed * 7919 + place * (seed % 13 + 1) * 31) % 290 + 7 for place in range(count)]
