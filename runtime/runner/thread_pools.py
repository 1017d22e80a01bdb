"""The thread pools that prepare requests: slow requests have their own pool, so that short ones never wait for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mlxbuild.runtime.model.tokenizer import LONG_TEXT
from mlxbuild.runtime.protocol.requests import ChatRequest, CompletionRequest, EmbeddingRequest, Request

_THREADS = 2
"""Threads of each lane."""


class ThreadPools:
    """One thread pool for short requests, one for those that may take long to prepare, and one for embeddings."""

    def __init__(self) -> None:
        """No thread is started before it is needed."""
        self._short = ThreadPoolExecutor(_THREADS, "preparing")
        self._long = ThreadPoolExecutor(_THREADS, "preparing-long")
        self._embedding = ThreadPoolExecutor(_THREADS, "embedding")

    def submit(self, request: Request, prepare: Callable[[], None]) -> None:
        """Run `prepare` in the lane of the request."""
        match request:
            case EmbeddingRequest():
                lane = self._embedding
            case ChatRequest() | CompletionRequest():
                lane = self._long if may_take_long(request) else self._short
            case _:
                lane = self._long if may_take_long(request.of) else self._short
        lane.submit(prepare)


def may_take_long(request: ChatRequest | CompletionRequest) -> bool:
    """Whether preparing a request may take more than a moment: a grammar, a template of its own, or a long text."""
    if request.format is not None:
        return True
    if isinstance(request, CompletionRequest):
        return _is_long([request.suffix, request.prompt if isinstance(request.prompt, str) else None])
    if request.tools or request.template is not None:
        return True
    return _is_long([request.messages, request.system, request.template_variables])


def _is_long(value: Any) -> bool:
    """Whether plain data is long, counting its characters and items until it is."""
    counted, waiting = 0, [value]
    while waiting and counted < LONG_TEXT:
        part = waiting.pop()
        counted += len(part) if isinstance(part, str) else 1
        waiting += _items(part)
    return counted >= LONG_TEXT


def _items(part: Any) -> Iterator[Any]:
    if isinstance(part, Mapping):
        yield from part
        yield from part.values()
    elif isinstance(part, Sequence) and not isinstance(part, str):
        yield from part
