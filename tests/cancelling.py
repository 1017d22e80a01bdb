"""Whether waits heed their cancellation."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from mlxbuild.registry.core import cancellation


def ends_when_cancelled(wait: Callable[[], object]) -> bool:
    """Whether a thread that waits, and not for its own sake, ends when it is cancelled."""
    cancelled, ended = threading.Event(), threading.Event()

    def check() -> None:
        if cancelled.is_set():
            raise cancellation.Cancelled

    def work() -> None:
        with pytest.raises(cancellation.Cancelled), cancellation.cancelled_by(check):
            wait()
        ended.set()

    threading.Thread(target=work, daemon=True).start()
    assert not ended.wait(0.4)
    cancelled.set()
    return ended.wait(5)
