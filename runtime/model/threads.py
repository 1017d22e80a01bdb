"""Cleans up MLX's streams when a thread that has computed ends. Which thread computes is decided elsewhere."""

from __future__ import annotations

import atexit
import os
import threading
from contextlib import suppress

from mlxbuild.registry.core.errors import EnvironmentFailure


class ForkedProcess(EnvironmentFailure):
    """This process was forked from one in which MLX had computed, so MLX cannot compute in it."""

    code = "forked-process"


def leave_streams_in_order() -> None:
    """Have MLX's streams of this thread end with the thread; to be called before the thread first computes.

    MLX computes in threads of its own, which nobody joins when a process ends. When their libraries are unloaded
    (OpenBLAS then waits for its threads, or frees their memory), the process hangs or is killed by a signal. So a
    thread waits for its streams before it ends, and the main thread does so before the process ends.

    Raises:
        ForkedProcess: MLX's threads belong to the parent process.
    """
    global _process
    require_own_threads()
    _process = os.getpid()
    if hasattr(_thread, "cleanup"):
        return
    if threading.current_thread() is threading.main_thread():
        _thread.cleanup = None
        atexit.register(settle)
    else:
        _thread.cleanup = _StreamCleanup()


def settle() -> None:
    """Wait until MLX computes nothing more on the streams of this thread."""
    if _process != os.getpid():
        return  # it would never return, as the threads belong to the parent process
    import mlx.core as mx

    for device in (mx.Device(mx.cpu), mx.default_device()):
        with suppress(RuntimeError):  # nobody is left to receive the error
            mx.synchronize(mx.default_stream(device))


def end_streams() -> None:
    """End MLX's streams of this thread now, as it computes nothing more. Otherwise they end with the thread."""
    if threading.current_thread() is not threading.main_thread():
        _thread.__dict__.pop("cleanup", None)


def require_own_threads() -> None:
    """Reject computing in a forked process, where it would never finish.

    Raises:
        ForkedProcess: MLX's threads belong to the parent process.
    """
    if _process not in (None, os.getpid()):
        raise ForkedProcess(
            "MLX cannot compute in a process that was forked from one in which it has computed",
            hint='load the model in the new process, begun with the start method "spawn"',
        )


class _StreamCleanup:
    """A thread-local object whose deletion cleans up when the thread ends."""

    def __del__(self) -> None:
        if _process != os.getpid():
            return  # a fork deletes objects of threads that it does not have
        import mlx.core as mx

        settle()
        mx.clear_streams()  # it works no more in this thread: https://github.com/ml-explore/mlx/pull/3395


_thread = threading.local()
_process: int | None = None
"""The process in which MLX has computed."""
