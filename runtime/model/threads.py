"""MLX in threads that end: what a thread that computed must leave behind. Where it computes is decided elsewhere."""

from __future__ import annotations

import threading


def leave_streams_in_order() -> None:
    """Have MLX's streams of this thread go with the thread; call it before the thread first computes.

    A thread that used them and ends shortly before its process may otherwise abort it. After clearing, MLX works no
    more in a thread (https://github.com/ml-explore/mlx/pull/3395), so it is the last thing done there.
    """
    if threading.current_thread() is not threading.main_thread() and not hasattr(_thread, "farewell"):
        _thread.farewell = _ClearsStreams()


class _ClearsStreams:
    """Goes with its thread."""

    def __del__(self) -> None:
        import mlx.core as mx

        mx.clear_streams()


_thread = threading.local()
