"""That no runner outlives the server that began it, whatever ends that."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> None:
    """Have the system kill this process when its parent ends, on Linux; `parent` is its process id.

    Elsewhere the closed socket is the only sign; it does not reach a process that is stopped, or that holds Python's
    lock for good.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before that call
        os._exit(1)
