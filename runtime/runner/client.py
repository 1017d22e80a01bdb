"""The server's side of a runner: a loaded model in a worker process of its own, which only this class talks to."""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
import signal
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.runtime.model.facts import ModelFacts
from mlxbuild.runtime.protocol import codec as plain
from mlxbuild.runtime.protocol.events import Embeddings, Event, Failure, Prompt, is_last
from mlxbuild.runtime.protocol.failures import as_error, as_failure
from mlxbuild.runtime.protocol.loaded import Heartbeat, Loaded
from mlxbuild.runtime.protocol.requests import ChatRequest, CompletionRequest, EmbeddingRequest, PromptRequest, Request
from mlxbuild.runtime.runner import frames, stacks
from mlxbuild.runtime.runner.errors import ReaderTooSlow, RunnerDied, RunnerStalled
from mlxbuild.runtime.runner.spawn import RunnerProcess, spawn

UNREAD_EVENTS = 8192
"""How many events an answer may be ahead of its reader before the answer is cancelled."""
_LAST_LINES = 200
_TELLING = re.compile(r"Fatal Python error|terminat|what\(\)|\w+Error: ")
"""Matches the lines of output that say why a process ended, among stack traces and the like."""
_CHECK_SECONDS = 1.0
_LINE_BYTES = 4096
_DYING_SECONDS = 0.5
"""Time in which a process ends if its last frame was cut because it died."""

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The timeouts of a runner."""

    silent_seconds: float = 15.0
    """Time without a heartbeat after which the runner is killed."""
    stall_seconds: float = 300.0
    """Time after which the runner is killed if a load or an iteration takes neither processor time nor memory."""
    standstill_seconds: float = 1800.0
    """Time without progress of any request after which the runner is killed, however busy it is."""
    stop_seconds: float = 5.0
    """Time that the runner has to end by itself before it is killed."""


class Runner:
    """A worker process with a loaded model; created by `start`."""

    loaded: Loaded
    facts: ModelFacts

    def __init__(self, spawned: RunnerProcess, patience: Timeouts) -> None:
        self._spawned = spawned
        self._writer = spawned.writer
        self._patience = patience
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Queue[Event]] = {}
        self._ready: asyncio.Future[Loaded] = asyncio.get_running_loop().create_future()
        self._lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._heard = True
        self._stalled: str | None = None
        self._stopping = False
        self._end: Failure | None = None
        self.has_answered = False
        """Whether the model has completed at least one answer or embedding."""
        self._on_end: list[Callable[[], None]] = []
        self._vitals = Heartbeat()
        self._watching = asyncio.create_task(self._watch())
        self._living = asyncio.create_task(self._live())

    @classmethod
    async def start(
        cls,
        folder: Path,
        scratch: Path,
        *,
        draft: Path | None = None,
        memory_bytes: int | None = None,
        max_sequences: int | None = None,
        kv_bits: int | None = None,
        patience: Timeouts | None = None,
    ) -> Runner:
        """Start a process and have it load the model in an artifact's folder, and its draft model if there is one.

        The folders have been read completely when this returns, and may be removed then. Temporary files go below
        `scratch`. Weights and caches stay within `memory_bytes` (default: the machine's available memory). At most
        `max_sequences` requests are batched (default: the engine's); further ones wait in the process. The KV cache of
        requests that do not set `kv_bits` is quantized to it, if the model supports that.

        Raises:
            RunnerDied, RunnerStalled: the process ended, or was killed, before the model was loaded.
            OutOfMemory: there is not enough memory.
            DraftUnusable: the draft has a different vocabulary, or is an embedding model.
            MlxbuildError: the model cannot be loaded; it has the class of the error in the process.
        """
        runner = cls(await spawn(scratch), patience or Timeouts())
        try:
            drafting = None if draft is None else str(draft)
            settings = {
                "draft": drafting,
                "memory_bytes": memory_bytes,
                "max_sequences": max_sequences,
                "kv_bits": kv_bits,
            }
            runner._send("load", str(folder), settings)
            runner.loaded = await runner._ready
            runner.facts = ModelFacts.from_json(runner.loaded.facts.encode())
        except BaseException:
            await asyncio.shield(runner.kill())
            raise
        return runner

    @property
    def alive(self) -> bool:
        """Whether the process can answer requests."""
        return self._end is None and not self._stopping and not self._writer.is_closing()

    @property
    def death(self) -> MlxbuildError | None:
        """Why the process ended by itself; None while it runs, and if it was stopped."""
        return None if self._end is None or self._stopping else as_error(self._end)

    @property
    def process_id(self) -> int:
        """The operating system's id of the process."""
        return self._spawned.process.pid

    def statistics(self) -> Heartbeat:
        """The statistics of the last heartbeat, at most a second old."""
        return self._vitals

    def limit(self, cache_bytes: int, prefix_bytes: int) -> None:
        """Bound the memory of the KV caches of running requests, and of the prefix cache."""
        self._send("limit", cache_bytes, prefix_bytes)

    def on_end(self, tell: Callable[[], None]) -> None:
        """Call `tell` once, when the process has ended."""
        if self._end is not None:
            tell()
        else:
            self._on_end.append(tell)

    async def answer(self, request: ChatRequest | CompletionRequest) -> AsyncGenerator[Event, None]:
        """Stream the events of an answer. Closing the iterator cancels the request.

        Raises:
            RunnerDied, RunnerStalled: the process ended before the answer did.
            ReaderTooSlow: the events were read so slowly that the answer was cancelled.
            MlxbuildError: the request was refused or failed; it has the class of the error in the process.
        """
        async with self._asked(request) as hear:
            while True:
                event = await hear()
                yield event
                if is_last(event):
                    return

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """Compute embeddings; raises as `answer` does."""
        return await self._one(request, Embeddings)

    async def prompt(self, request: PromptRequest) -> Prompt:
        """The prompt that a request would give the model; raises as `answer` does."""
        return await self._one(request, Prompt)

    async def stop(self) -> None:
        """Stop the process; requests that are still running fail."""
        self._stopping = True
        self._send("stop")
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._living), self._patience.stop_seconds)
        await self.kill()

    async def kill(self) -> None:
        """Kill the process at once."""
        self._stopping = True
        self._spawned.kill()
        await asyncio.shield(self._living)  # cleaning up has to finish even if the caller is cancelled

    async def _one(self, request: Request, kind: type[Answer]) -> Answer:
        async with self._asked(request) as hear:
            event = await hear()
        if not isinstance(event, kind):
            raise frames.MalformedFrame(f"a runner answered with a {type(event).__name__}")
        return event

    @asynccontextmanager
    async def _asked(self, request: Request) -> AsyncIterator[Callable[[], Awaitable[Event]]]:
        """Send a request; gives a function that awaits its next event or raises its failure. Leaving early cancels."""
        if self._end is not None:
            raise as_error(self._end)
        number = next(self._numbers)
        self._writer.write(frames.encode(["ask", number, request]))
        answers = self._answers[number] = asyncio.Queue()
        is_over = False

        async def hear() -> Event:
            nonlocal is_over
            event = await answers.get()
            is_over = is_last(event)
            if isinstance(event, Failure):
                raise as_error(event)
            self.has_answered = self.has_answered or (is_over and not isinstance(event, Prompt))
            return event

        try:
            with suppress(ConnectionError):  # `_live` notices the end of the process and tells all requests
                await self._writer.drain()
            yield hear
        finally:
            del self._answers[number]
            if not is_over:
                self._send("cancel", number)

    def _send(self, *message: Any) -> None:
        if self._end is None:
            self._writer.write(frames.encode(list(message)))

    async def _live(self) -> None:
        """Read what the process sends until it ends, then clean up and fail the requests that are left."""
        reading = asyncio.create_task(self._keep_lines())
        broken: str | None = None
        try:
            while (message := await frames.receive(self._spawned.reader)) is not None:
                self._heard = True
                self._take(message)
        except OSError:
            pass  # the same as the end of the stream
        except (frames.MalformedFrame, ValueError, TypeError, KeyError) as error:
            broken = str(error)
        self._writer.close()
        if await self._spawned.ends_within(_DYING_SECONDS if broken else self._patience.stop_seconds):
            broken = None  # the process ended, which explains whatever was cut
        elif broken is None and not self._stopping:
            broken = "it closed its connection"
        self._spawned.kill()
        code = await self._spawned.process.wait()
        await asyncio.wait((reading,), timeout=1)  # its child processes may hold its output open
        reading.cancel()
        self._watching.cancel()
        self._end = self._ending(code, broken)
        self._spawned.scratch.give_back(in_order=code == 0)
        if not self._ready.done():
            self._ready.set_exception(as_error(self._end))
        for answers in self._answers.values():
            answers.put_nowait(self._end)
        for tell in self._on_end:
            tell()

    def _take(self, message: list[Any]) -> None:
        match message:
            case ["events", list(events)]:
                for number, event in events:
                    self._deliver(number, plain.read(event))
            case ["beat", vitals]:
                self._vitals = plain.read(vitals)
            case ["ready", loaded] if not self._ready.done():
                self._ready.set_result(plain.read(loaded))
            case ["failed", failure] if not self._ready.done():
                self._ready.set_exception(as_error(plain.read(failure)))
            case _:
                raise frames.MalformedFrame(f"a runner said `{message[0]}`, which is not understood here")

    def _deliver(self, number: int, event: Event) -> None:
        answers = self._answers.get(number)
        if answers is None:
            return  # the request was cancelled, and the runner had not received that yet
        if answers.qsize() < UNREAD_EVENTS:
            answers.put_nowait(event)
        elif answers.qsize() == UNREAD_EVENTS:
            message = f"{UNREAD_EVENTS} parts of the answer were waiting to be read"
            answers.put_nowait(as_failure(ReaderTooSlow(message, hint="read answers as they come")))
            self._send("cancel", number)

    async def _keep_lines(self) -> None:
        """Log what the process and its libraries print, and keep the last lines for an error message."""
        rest = b""
        while part := await self._spawned.output.read(_LINE_BYTES):
            *lines, rest = (rest + part).split(b"\n")
            for line in (*lines, *([rest] if len(rest) > _LINE_BYTES else [])):
                text = line.decode(errors="replace").rstrip()
                self._lines.append(text)
                log.info("runner %d: %s", self._spawned.process.pid, text)
            rest = b"" if len(rest) > _LINE_BYTES else rest

    async def _watch(self) -> None:
        """Kill a process that hangs. Counts checks instead of time, in case the server itself was suspended."""
        unheard = 0
        effort, without_effort = -1, 0.0
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            unheard = 0 if self._heard else unheard + 1
            self._heard = False
            vitals = self._vitals
            idle = vitals.working_seconds == 0.0 or vitals.effort != effort
            without_effort = 0.0 if idle else without_effort + _CHECK_SECONDS
            effort = vitals.effort
            if unheard * _CHECK_SECONDS >= self._patience.silent_seconds:
                self._stalled = f"it gave no sign of life for {unheard * _CHECK_SECONDS:.0f} seconds"
            elif min(without_effort, vitals.working_seconds) >= self._patience.stall_seconds:
                self._stalled = f"it made no progress for {vitals.working_seconds:.0f} seconds"
            elif vitals.standstill_seconds >= self._patience.standstill_seconds:
                self._stalled = f"none of its requests made progress for {vitals.standstill_seconds:.0f} seconds"
            if self._stalled is not None:
                log.error("runner %d is ended: %s; its threads are at:", self._spawned.process.pid, self._stalled)
                self._spawned.signal(stacks.SIGNAL)
                await asyncio.sleep(_DYING_SECONDS)
                self._spawned.kill()
                return

    def _ending(self, code: int, broken: str | None) -> Failure:
        words = "; ".join(line.strip() for line in [*filter(_TELLING.search, self._lines)][-3:])
        hint = f"its last words: {words}" if words else None
        if self._stalled is not None:
            return as_failure(RunnerStalled(f"the model's process was ended: {self._stalled}", hint=hint))
        if broken is not None:
            return as_failure(RunnerDied(f"the model's process was ended: {broken}", hint=hint))
        if self._stopping:
            return as_failure(RunnerDied("the model was unloaded"))
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return as_failure(RunnerDied(f"the model's process ended {how}", hint=hint))
