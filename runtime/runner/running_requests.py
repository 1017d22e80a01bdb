"""The computing side of a runner: loads the model, prepares requests and submits them to the engine.

Preparing (chat template, tokenizing, grammar) and embedding run in threads of their own, so that neither the engine nor
the reading of further requests waits for them.
"""

from __future__ import annotations

import gc
import resource
import threading
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mlxbuild.registry.core.cancellation import cancelled_by, checkpoint
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.runtime.engine.core.limits import Limits
from mlxbuild.runtime.engine.core.loop import EngineEnded, Ticket
from mlxbuild.runtime.loaded_model import LoadedModel
from mlxbuild.runtime.protocol.events import Event, Failure, is_last
from mlxbuild.runtime.protocol.failures import as_failure
from mlxbuild.runtime.protocol.loaded import Heartbeat, Loaded
from mlxbuild.runtime.protocol.requests import ChatRequest, CompletionRequest, EmbeddingRequest, PromptRequest, Request
from mlxbuild.runtime.runner.event_writer import EventWriter
from mlxbuild.runtime.runner.kernels import compile_steps
from mlxbuild.runtime.runner.thread_pools import ThreadPools


@dataclass(slots=True)
class _Asked:
    """A request that has not ended."""

    since: float = field(default_factory=time.monotonic)
    ticket: Ticket | None = None
    """None until the request is submitted to the engine."""


class RunningRequests:
    """A model and its running requests. All methods may be called from any thread, and none blocks."""

    def __init__(
        self,
        folder: Path,
        outbox: EventWriter,
        *,
        draft: str | None = None,
        memory_bytes: int | None = None,
        max_sequences: int | None = None,
        kv_bits: int | None = None,
    ) -> None:
        """Start loading; the outcome is sent to the outbox. `draft` is the folder of a draft model."""
        self._folder = folder
        self._outbox = outbox
        self._draft = draft
        self._memory_bytes = memory_bytes
        self._kv_bits = kv_bits
        self._limits = Limits() if max_sequences is None else Limits(max_sequences=max_sequences)
        self._model: LoadedModel | None = None
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._asked: dict[int, _Asked] = {}
        """Requests by their numbers, the oldest first."""
        self._lanes = ThreadPools()
        threading.Thread(target=self._load, name="loading", daemon=True).start()

    def ask(self, number: int, request: Request) -> None:
        """Answer a request; its events go to the outbox with its number."""
        with self._lock:
            self._asked[number] = _Asked()
        self._lanes.submit(request, partial(self._answer, number, request))

    def cancel(self, number: int) -> None:
        """Cancel a request; it sends no more events."""
        with self._lock:
            asked = self._asked.pop(number, None)
        if asked is not None and asked.ticket is not None and self._model is not None:
            self._model.engine.cancel(asked.ticket)

    def limit(self, cache_bytes: int, prefix_bytes: int) -> None:
        """Bound the memory of the KV caches and of the prefix cache."""
        if self._model is not None:
            with suppress(EngineEnded):
                self._model.engine.limit(cache_bytes, prefix_bytes)

    @property
    def is_over(self) -> bool:
        """Whether the engine has ended, so that no request can be answered."""
        return self._model is not None and self._model.engine.ended is not None

    def vitals(self) -> Heartbeat:
        """A heartbeat with the current statistics."""
        model = self._model
        if model is None:
            return Heartbeat(working_seconds=time.monotonic() - self._began, effort=_effort())
        import mlx.core as mx

        figures = model.engine.statistics()
        with self._lock:
            oldest = next(iter(self._asked.values()), None)
        now = time.monotonic()
        waiting_seconds = 0.0 if oldest is None else now - oldest.since
        working_seconds = 0.0 if figures.working_since is None else now - figures.working_since
        return Heartbeat(
            working_seconds=working_seconds,
            effort=_effort(),
            standstill_seconds=min(now - figures.progressed_at, max(waiting_seconds, working_seconds)),
            requests_waiting=max(0, len(self._asked) - figures.running),
            memory_bytes=mx.get_active_memory(),
            engine=figures,
        )

    def _load(self) -> None:
        try:
            draft = None if self._draft is None else LoadedModel(Path(self._draft), is_watched=True)
            model = LoadedModel(
                self._folder,
                limits=self._limits,
                memory_bytes=self._memory_bytes,
                draft=draft,
                kv_bits=self._kv_bits,
                is_watched=True,
            )
            # Everything in the folders is read now, as they may be removed afterwards.
            _ = model.template, model.engine
            facts = model.facts
            loaded = Loaded(
                facts.to_json().decode(),
                model.weights.holding,
                facts.longest_input or 0,
                model.capabilities,
                draft=None if draft is None else draft.weights.holding,
                kv_bits=model.kv_bits,
                batched=model.engine.batching.told,
            )
        except BaseException as error:  # noqa: BLE001  # the server has to know of any error
            self._outbox.say("failed", _failure(error))
            return
        gc.collect()
        gc.freeze()  # the model stays loaded; scanning it for garbage would pause all answers
        self._model = model
        self._outbox.say("ready", loaded)
        self._outbox.say("beat", self.vitals())
        if "completion" in model.capabilities:
            compile_steps(model)

    def _answer(self, number: int, request: Request) -> None:
        def check() -> None:
            if number not in self._asked:
                raise CancelledError

        try:
            with cancelled_by(check):
                checkpoint()  # it may have been cancelled before its turn
                self._begin(number, request)
        except CancelledError:
            pass  # nobody waits for the answer
        except BaseException as error:  # noqa: BLE001  # the request fails, the runner goes on
            self._tell(number, [_failure(error)])

    def _begin(self, number: int, request: Request) -> None:
        model = self._model
        assert model is not None  # the server sends no request before the model is ready
        match request:
            case ChatRequest() | CompletionRequest():
                prepared = model.prepare(request)
                with self._lock:  # so that `_tell` waits until the ticket is set
                    if (asked := self._asked.get(number)) is not None:
                        asked.ticket = model.engine.submit(prepared, partial(self._tell, number))
            case EmbeddingRequest():
                vectors = model.embed(
                    request.inputs,
                    dimensions=request.dimensions,
                    truncates=request.truncates,
                    normalizes=request.normalizes,
                    is_wanted=lambda: number in self._asked,
                )
                self._tell(number, [vectors])
            case PromptRequest():
                self._tell(number, [model.prompt_of(request)])

    def _tell(self, number: int, events: Sequence[Event]) -> None:
        with self._lock:
            if number not in self._asked:
                return
            if is_last(events[-1]):
                del self._asked[number]
        self._outbox.tell([(number, event) for event in events])


def _failure(error: BaseException) -> Failure:
    if not isinstance(error, MlxbuildError):
        traceback.print_exception(error)
    return as_failure(error)


def _effort() -> int:
    """See `Vitals.effort`: peak memory plus whole seconds of processor time, so that heartbeats alone do not count."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return int(usage.ru_utime + usage.ru_stime) + usage.ru_maxrss
