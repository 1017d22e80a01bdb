"""Encodes text in a thread that can be abandoned, as the regular expressions of a tokenizer may never finish.

The tokenizers library releases Python's lock only for batches, so the text is passed as a batch of one. Tokenizers that
are slow on ordinary text are rejected before, by `runtime.rendering.trial`.
"""

from __future__ import annotations

import math
from threading import BoundedSemaphore, Thread
from typing import Any

from mlxbuild.registry.core.cancellation import POLL_SECONDS, checkpoint

SECONDS = 30.0
"""For any text, however short."""
CHARACTERS_PER_SECOND = 10_000
"""Even a slow, busy machine encodes ten times as many."""


_places = BoundedSemaphore(4)
"""How many texts are encoded at once, including those that nobody waits for any more, as each takes a core."""


class TakesTooLong(Exception):
    """A text was not encoded in time."""


def encode_in_time(backend: Any, text: str, *, add_special_tokens: bool) -> Any:
    """The `tokenizers.Encoding` of a text, without offsets.

    Raises:
        TakesTooLong: it was not encoded in time. The thread goes on with it, and keeps its place meanwhile.
        BaseException: whatever the library raises, including a panic, or whatever cancels this thread.
    """
    encodings: list[Any] = []
    failures: list[BaseException] = []

    def encode() -> None:
        try:
            encodings.extend(backend.encode_batch_fast([text], add_special_tokens=add_special_tokens))
        except BaseException as error:  # noqa: BLE001 - it is raised below
            failures.append(error)
        finally:
            _places.release()

    polls = iter(range(math.ceil((SECONDS + len(text) / CHARACTERS_PER_SECOND) / POLL_SECONDS)))
    while not _places.acquire(timeout=POLL_SECONDS):
        checkpoint()
        if next(polls, None) is None:
            raise TakesTooLong
    thread = Thread(target=encode, name="tokenizer", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the system has no thread left
        _places.release()
        raise
    for _ in polls:
        thread.join(POLL_SECONDS)
        if not thread.is_alive():
            break
        checkpoint()
    if failures:
        raise failures[0]
    if not encodings:
        raise TakesTooLong
    return encodings[0]
