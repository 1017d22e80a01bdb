"""Where weight arithmetic runs: on the CPU device, whose bytes are the same on every machine, in any thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import mlx.core as mx


@contextmanager
def cpu_device() -> Iterator[None]:
    """While inside, this thread's MLX operations run on the CPU. Other threads cannot evaluate arrays made here."""
    if threading.current_thread() is not threading.main_thread() and not hasattr(_thread, "farewell"):
        _thread.farewell = _ClearsStreams()
    with mx.stream(mx.cpu):
        yield


class _ClearsStreams:
    """Goes with its thread, and MLX's streams of that thread with it.

    A thread that used them and ends shortly before the process does may abort it otherwise; after clearing, MLX
    works no more in a thread (https://github.com/ml-explore/mlx/pull/3395), so it must be the last thing done there.
    """

    def __del__(self) -> None:
        mx.clear_streams()


_thread = threading.local()
