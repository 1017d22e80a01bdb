"""Makes sure that no runner outlives the server that started it, however the server ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int) -> None:
    """On Linux, have the kernel kill this process when its parent ends; `parent` is the parent's process id.

    On other systems the closed socket ends the process; one that is suspended or never releases the GIL misses that.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent ended before that call
        os._exit(1)
