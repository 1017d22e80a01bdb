"""Encodes a text in a thread that can be left behind: what splits it may take for ever, and nothing could end it.

The tokenizers library lets go of Python's lock for batches alone, so a text is one. Whether a tokenizer's expressions
are slow with usual texts is found out before, by `runtime.rendering.trial`.
"""

from __future__ import annotations

import math
from threading import Thread
from typing import Any

from mlxbuild.registry.core.cancellation import POLL_SECONDS, checkpoint

SECONDS = 30.0
"""For any text, however short."""
CHARACTERS_PER_SECOND = 10_000
"""A slow machine that is busy splits ten times as many."""


class TakesTooLong(Exception):
    """A text is not split in its time."""


def encode_in_time(backend: Any, text: str, *, add_special_tokens: bool) -> Any:
    """The `tokenizers.Encoding` of a text, without offsets.

    Raises:
        TakesTooLong: there is none in time. The thread goes on with it until this process ends.
        BaseException: as the library raises it, a panic included, or as whoever cancels this thread.
    """
    encodings: list[Any] = []
    failures: list[BaseException] = []

    def encode() -> None:
        try:
            encodings.extend(backend.encode_batch_fast([text], add_special_tokens=add_special_tokens))
        except BaseException as error:  # noqa: BLE001 - it is raised below
            failures.append(error)

    thread = Thread(target=encode, name="tokenizer", daemon=True)
    thread.start()
    for _ in range(math.ceil((SECONDS + len(text) / CHARACTERS_PER_SECOND) / POLL_SECONDS)):
        thread.join(POLL_SECONDS)
        if not thread.is_alive():
            break
        checkpoint()
    if failures:
        raise failures[0]
    if not encodings:
        raise TakesTooLong
    return encodings[0]
