"""The computing side of a runner: one thread loads the model, then answers request after request."""

from __future__ import annotations

import queue
import resource
import threading
import time
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from registry.errors import MlxbuildError, UserError
from runtime.protocol.events import Chunk, Event
from runtime.protocol.failures import as_failure
from runtime.protocol.loaded import Loaded, Vitals
from runtime.protocol.requests import ChatRequest, CompletionRequest, EmbeddingRequest, PromptRequest, Request
from runtime.runner.outbox import Outbox
from runtime.session import LoadedModel


class NotOffered(UserError):
    """A request asks for what the model, or this version, does not do. It is refused, never left out."""

    code = "not-offered"


@dataclass
class _Counts:
    prompt_tokens: int = 0
    reused_tokens: int = 0
    answer_tokens: int = 0


class Work:
    """One model at work. All methods may be called from any thread, and none waits."""

    def __init__(self, folder: Path, outbox: Outbox, *, memory_bytes: int | None = None) -> None:
        self._folder = folder
        self._outbox = outbox
        self._memory_bytes = memory_bytes
        self._asked: queue.SimpleQueue[tuple[int, Request]] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        self._waiting: set[int] = set()
        self._running: int | None = None
        self._since: float | None = time.monotonic()
        self._counts = _Counts()
        threading.Thread(target=self._work, name="engine", daemon=True).start()

    def ask(self, number: int, request: Request) -> None:
        """Have a request answered; what is said goes to the outbox under its number."""
        self._waiting.add(number)
        self._asked.put((number, request))

    def cancel(self, number: int) -> None:
        """Leave a request; nothing more is said of it."""
        if number in self._waiting or number == self._running:
            self._cancelled.add(number)

    def vitals(self) -> Vitals:
        """A sign of life."""
        since = self._since
        return Vitals(
            working_seconds=0.0 if since is None else time.monotonic() - since,
            effort=_effort(),
            requests_running=int(self._running is not None),
            requests_waiting=len(self._waiting),
            prompt_tokens=self._counts.prompt_tokens,
            reused_tokens=self._counts.reused_tokens,
            answer_tokens=self._counts.answer_tokens,
        )

    def _work(self) -> None:
        try:
            model = LoadedModel(self._folder)
            loaded = _load(model)
        except BaseException as error:  # noqa: BLE001  # whatever it is, the front has to know
            if not isinstance(error, MlxbuildError):
                traceback.print_exc()
            self._outbox.say("failed", as_failure(error))
            return
        self._outbox.say("ready", loaded)
        while True:
            self._since = None
            number, request = self._asked.get()
            self._since = time.monotonic()
            self._running = number
            self._waiting.discard(number)
            try:
                self._answer(number, _answer(model, request))
            except Exception as error:  # noqa: BLE001  # the request fails, the runner goes on
                if not isinstance(error, MlxbuildError):
                    traceback.print_exc()
                self._outbox.tell([(number, as_failure(error))])
            self._running = None
            self._cancelled.discard(number)

    def _answer(self, number: int, events: Iterable[Event]) -> None:
        for event in () if number in self._cancelled else events:
            if number in self._cancelled:
                return
            self._since = time.monotonic()
            self._outbox.tell([(number, event)])
            if isinstance(event, Chunk):
                self._counts.answer_tokens += event.token is not None
                if event.ending is not None:
                    self._counts.prompt_tokens += event.ending.prompt_tokens
                    self._counts.reused_tokens += event.ending.reused_tokens


def _load(model: LoadedModel) -> Loaded:
    facts = model.facts
    # Everything that is read of the folder is read now: afterwards it may go.
    _ = model.tokenizer, model.template
    holding = model.weights.holding
    return Loaded(facts.to_json().decode(), holding, facts.context_length or 0, facts.capabilities)


def _answer(model: LoadedModel, request: Request) -> Iterable[Event]:
    match request:
        case ChatRequest() | CompletionRequest():
            return model.answer(request)
        case EmbeddingRequest():
            return [
                model.embed(
                    request.inputs,
                    dimensions=request.dimensions,
                    truncates=request.truncates,
                    normalizes=request.normalizes,
                )
            ]
        case PromptRequest():
            return [model.prompt_of(request)]
        case _:
            raise NotOffered(f"a {type(request).__name__} like this is not answered by this model")


def _effort() -> int:
    """See `Vitals.effort`: whole seconds of processor time, so that beating alone is none; and memory."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return int(usage.ru_utime + usage.ru_stime) + usage.ru_maxrss
