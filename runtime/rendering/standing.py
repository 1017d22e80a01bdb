"""The pool of renderers of this process: one is kept from the first template on, more are started while it is busy."""

from __future__ import annotations

import atexit
import os
import threading

from mlxbuild.runtime.rendering.messages import AnyRequest, Failure, TemplateFault, decode_answer, too_long
from mlxbuild.runtime.rendering.renderer import Renderer, RendererLost

_MOST_AT_ONCE = 4
_ATTEMPTS = 2


class Renderers:
    """A thread-safe pool of renderers. A template that takes too long ends its renderer, and delays no others."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(_MOST_AT_ONCE)
        self._idle: list[Renderer] = []
        self._all: set[Renderer] = set()

    def ask(self, request: AnyRequest) -> str | list[str]:
        """The prompt of a template, or the names of the variables that it reads; for other requests see `messages`.

        Raises:
            Failure: the template, the tokenizer or the grammar is at fault.
            RendererLost: no process can be started, or it is killed repeatedly from outside.
            ValueError: the variables are not plain data, or nest too deeply.
        """
        body = request.encode()
        how = ""
        for _ in range(_ATTEMPTS):
            with self._places:
                renderer = self._take()
                try:
                    answer = renderer.ask(body)
                    if answer is not None:
                        return decode_answer(answer)
                    how = renderer.kill()
                finally:
                    self._give_back(renderer)
            if renderer.was_timed_out:
                raise Failure(TemplateFault.COSTLY, too_long(request.limits))
            if renderer.has_crashed:
                raise Failure(TemplateFault.BROKEN, f"it crashes the process that works on it, which ended {how}")
        raise RendererLost(
            f"the process that renders chat templates ended {how}",
            hint="it may have run out of memory",
        )

    def process_ids(self) -> list[int]:
        """The ids of the running processes."""
        with self._lock:
            return [renderer.process_id for renderer in self._all]

    def close(self) -> None:
        """Close idle renderers, and kill busy ones."""
        with self._lock:
            idle, busy = list(self._idle), self._all.difference(self._idle)
            self._idle.clear()
            self._all.clear()
        for renderer in idle:
            renderer.close()
        for renderer in busy:
            renderer.kill()

    def forsake(self) -> None:
        """Close the sockets that this process inherited from the one that it was forked from."""
        for renderer in self._all:
            renderer.forsake()

    def _take(self) -> Renderer:
        while (standing := self._next()) is not None:
            if standing.alive:
                return standing
            self._bury(standing)
        renderer = Renderer()
        with self._lock:
            self._all.add(renderer)
        return renderer

    def _give_back(self, renderer: Renderer) -> None:
        with self._lock:
            if renderer in self._all and renderer.alive and not self._idle:
                self._idle.append(renderer)
                return
        self._bury(renderer)

    def _next(self) -> Renderer | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _bury(self, renderer: Renderer) -> None:
        with self._lock:
            self._all.discard(renderer)
        renderer.close()


_renderers = Renderers()
_forsaken: list[Renderers] = []


def ask(request: AnyRequest) -> str | list[str]:
    """Call `Renderers.ask` on the pool of this process."""
    return _renderers.ask(request)


def process_ids() -> list[int]:
    """Call `Renderers.process_ids` on the pool of this process."""
    return _renderers.process_ids()


def _begin_anew() -> None:
    """Start with an empty pool after a fork: the parent's renderers must be neither used nor kept alive."""
    global _renderers
    _renderers.forsake()
    _forsaken.append(_renderers)  # or Python would complain that their processes were never waited for
    _renderers = Renderers()


atexit.register(lambda: _renderers.close())
os.register_at_fork(after_in_child=_begin_anew)
