"""One loaded model, seen from the front. It lives in a process of its own, which nothing but this talks to."""

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
from mlxbuild.runtime.protocol.loaded import Loaded, Vitals
from mlxbuild.runtime.protocol.requests import ChatRequest, CompletionRequest, EmbeddingRequest, PromptRequest, Request
from mlxbuild.runtime.runner import frames, stacks
from mlxbuild.runtime.runner.errors import ReaderTooSlow, RunnerDied, RunnerStalled
from mlxbuild.runtime.runner.spawn import Spawned, spawn

UNREAD_EVENTS = 8192
"""How many events an answer may be ahead of its reader before it is given up."""
_LAST_LINES = 200
_TELLING = re.compile(r"Fatal Python error|terminat|what\(\)|\w+Error: ")
"""In lines that say why a process ended, between stacks and the like."""
_CHECK_SECONDS = 1.0
_LINE_BYTES = 4096
_DYING_SECONDS = 0.5
"""In which a process has ended whose last words were cut by its death."""

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a runner is waited for."""

    silent_seconds: float = 15.0
    """Time without any sign of life, after which it is ended."""
    stall_seconds: float = 300.0
    """Time in which a load or an iteration neither ends nor takes processor time or memory, after which it is ended."""
    standstill_seconds: float = 1800.0
    """Time in which none of its requests gets on, whatever effort it makes, after which it is ended."""
    stop_seconds: float = 5.0
    """Time to end by itself."""


class Runner:
    """A process with a model; made by `start`."""

    loaded: Loaded
    facts: ModelFacts

    def __init__(self, spawned: Spawned, patience: Patience) -> None:
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
        """Whether anything that was asked was computed to its end."""
        self._on_end: list[Callable[[], None]] = []
        self._vitals = Vitals()
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
        rows: int | None = None,
        kv_bits: int | None = None,
        patience: Patience | None = None,
    ) -> Runner:
        """Begin a process, and have it load the model of an artifact's folder, with the one that drafts for it.

        Everything of the folders has been read when this returns: they may go then. Temporary files go below `scratch`.
        Weights and caches keep within `memory_bytes` (default: what the machine has left). At most `rows` requests are
        computed at once (default: the engine's); others wait in the process. Where requests say nothing, keys and
        values are kept in `kv_bits`, if the model's can be.

        Raises:
            RunnerDied, RunnerStalled: the process did not live to the end of it.
            OutOfMemory: there is not enough memory.
            DraftUnusable: the draft has other tokens, or only embeds.
            MlxbuildError: the model cannot be loaded; of the class that the loading raised.
        """
        runner = cls(await spawn(scratch), patience or Patience())
        try:
            drafting = None if draft is None else str(draft)
            settings = {"draft": drafting, "memory_bytes": memory_bytes, "rows": rows, "kv_bits": kv_bits}
            runner._send("load", str(folder), settings)
            runner.loaded = await runner._ready
            runner.facts = ModelFacts.from_json(runner.loaded.facts.encode())
        except BaseException:
            await asyncio.shield(runner.kill())
            raise
        return runner

    @property
    def alive(self) -> bool:
        """Whether requests can be answered."""
        return self._end is None and not self._stopping and not self._writer.is_closing()

    @property
    def death(self) -> MlxbuildError | None:
        """Why the process ended by itself; None while it lives, and when it was meant to end."""
        return None if self._end is None or self._stopping else as_error(self._end)

    @property
    def process_id(self) -> int:
        """Of the operating system."""
        return self._spawned.process.pid

    def statistics(self) -> Vitals:
        """What has been done so far, at most a second old."""
        return self._vitals

    def limit(self, cache_bytes: int, prefix_bytes: int) -> None:
        """Have keys and values of running answers, and those kept for prompts to come, take no more than that."""
        self._send("limit", cache_bytes, prefix_bytes)

    def on_end(self, tell: Callable[[], None]) -> None:
        """Have `tell` called once, when the process has ended."""
        if self._end is not None:
            tell()
        else:
            self._on_end.append(tell)

    async def answer(self, request: ChatRequest | CompletionRequest) -> AsyncGenerator[Event, None]:
        """What the model says. Closing the iterator cancels the work.

        Raises:
            RunnerDied, RunnerStalled: the process ended before the answer did.
            ReaderTooSlow: the iterator was not asked for so long that the answer was given up.
            MlxbuildError: the request is refused, or failed; of the class that the model raised.
        """
        async with self._asked(request) as hear:
            while True:
                event = await hear()
                yield event
                if is_last(event):
                    return

    async def embed(self, request: EmbeddingRequest) -> Embeddings:
        """Vectors of texts; raises as `answer` does."""
        return await self._one(request, Embeddings)

    async def prompt(self, request: PromptRequest) -> Prompt:
        """What a request would give the model; raises as `answer` does."""
        return await self._one(request, Prompt)

    async def stop(self) -> None:
        """End the process; requests that it still answers fail."""
        self._stopping = True
        self._send("stop")
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._living), self._patience.stop_seconds)
        await self.kill()

    async def kill(self) -> None:
        """End the process at once."""
        self._stopping = True
        self._spawned.kill()
        await asyncio.shield(self._living)  # it has to be done, whoever waits for it

    async def _one(self, request: Request, kind: type[Answer]) -> Answer:
        async with self._asked(request) as hear:
            event = await hear()
        if not isinstance(event, kind):
            raise frames.MalformedFrame(f"a runner answered with a {type(event).__name__}")
        return event

    @asynccontextmanager
    async def _asked(self, request: Request) -> AsyncIterator[Callable[[], Awaitable[Event]]]:
        """Ask, and hear one event after the other; failures are raised. What is left before its end is cancelled."""
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
            with suppress(ConnectionError):  # its end is heard of as that of all others
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
        """From the first sign of life to the end of the process, and what has to be done then."""
        reading = asyncio.create_task(self._keep_lines())
        broken: str | None = None
        try:
            while (message := await frames.receive(self._spawned.reader)) is not None:
                self._heard = True
                self._take(message)
        except OSError:
            pass  # as at the end of what it says
        except (frames.MalformedFrame, ValueError, TypeError, KeyError) as error:
            broken = str(error)
        self._writer.close()
        if await self._spawned.ends_within(_DYING_SECONDS if broken else self._patience.stop_seconds):
            broken = None  # nothing was wrong but that it ended
        elif broken is None and not self._stopping:
            broken = "it closed its connection"
        self._spawned.kill()
        code = await self._spawned.process.wait()
        await asyncio.wait((reading,), timeout=1)  # others may hold its output open
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
            return  # it was cancelled, and the runner had not heard of that yet
        if answers.qsize() < UNREAD_EVENTS:
            answers.put_nowait(event)
        elif answers.qsize() == UNREAD_EVENTS:
            message = f"{UNREAD_EVENTS} parts of the answer were waiting to be read"
            answers.put_nowait(as_failure(ReaderTooSlow(message, hint="read answers as they come")))
            self._send("cancel", number)

    async def _keep_lines(self) -> None:
        """Whatever the process and its libraries print: for the log, and the last of it for the error."""
        rest = b""
        while part := await self._spawned.output.read(_LINE_BYTES):
            *lines, rest = (rest + part).split(b"\n")
            for line in (*lines, *([rest] if len(rest) > _LINE_BYTES else [])):
                text = line.decode(errors="replace").rstrip()
                self._lines.append(text)
                log.info("runner %d: %s", self._spawned.process.pid, text)
            rest = b"" if len(rest) > _LINE_BYTES else rest

    async def _watch(self) -> None:
        """Ends a process that shows no life. Counts checks, as a front that was itself stopped must not blame it."""
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
                self._stalled = f"it did not get on for {vitals.working_seconds:.0f} seconds"
            elif vitals.standstill_seconds >= self._patience.standstill_seconds:
                self._stalled = f"none of its requests got on for {vitals.standstill_seconds:.0f} seconds"
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
