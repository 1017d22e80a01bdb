"""MLX in threads that end: what a thread that computed must leave behind. Where it computes is decided elsewhere."""

from __future__ import annotations

import atexit
import os
import threading
from contextlib import suppress

from mlxbuild.registry.core.errors import EnvironmentFailure


class ForkedProcess(EnvironmentFailure):
    """This process was forked from one in which MLX had computed; MLX cannot compute in it."""

    code = "forked-process"


def leave_streams_in_order() -> None:
    """Have MLX's streams of this thread go with the thread; call it before the thread first computes.

    MLX computes in threads of its own, which nobody waits for when a process ends. When libraries are unloaded below
    them (OpenBLAS waits for its threads then, or takes their memory away) the process hangs or dies by a signal. So a
    thread waits for its streams before it ends, and the main thread before the process does.

    Raises:
        ForkedProcess: MLX's threads have stayed in another process.
    """
    global _process
    require_own_threads()
    _process = os.getpid()
    if hasattr(_thread, "farewell"):
        return
    if threading.current_thread() is threading.main_thread():
        _thread.farewell = None
        atexit.register(settle)
    else:
        _thread.farewell = _Farewell()


def settle() -> None:
    """Wait until MLX computes nothing more on the streams of this thread."""
    if _process != os.getpid():
        return  # it never would: its threads are in another process
    import mlx.core as mx

    for device in (mx.Device(mx.cpu), mx.default_device()):
        with suppress(RuntimeError):  # what failed there was asked for by nobody who is left
            mx.synchronize(mx.default_stream(device))


def end_streams() -> None:
    """Have MLX's streams of this thread end now; it computes no more. Otherwise they end with the thread."""
    if threading.current_thread() is not threading.main_thread():
        _thread.__dict__.pop("farewell", None)


def require_own_threads() -> None:
    """Refuse to compute where it would never end.

    Raises:
        ForkedProcess: MLX's threads have stayed in another process.
    """
    if _process not in (None, os.getpid()):
        raise ForkedProcess(
            "MLX computes in no process that was forked from one in which it did",
            hint='load the model in the new process, begun with the start method "spawn"',
        )


class _Farewell:
    """Goes with its thread."""

    def __del__(self) -> None:
        if _process != os.getpid():
            return  # a fork clears up after threads that it does not have
        import mlx.core as mx

        settle()
        mx.clear_streams()  # it works no more in this thread: https://github.com/ml-explore/mlx/pull/3395


_thread = threading.local()
_process: int | None = None
"""In which MLX has computed."""
