"""The thread pool in which source files are fetched and verified; nothing else uses the network for them."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from mlxbuild.registry.core import cancellation
from mlxbuild.toolchain.execute.inline import report
from mlxbuild.toolchain.execute.port import ActionEvent, Begun, Cancelled, Finished, Progressed
from mlxbuild.toolchain.graph.graph import Fetch

_AT_ONCE = 4


class FetchThreads:
    """A few threads that fetch source files and verify them against the lock."""

    def __init__(self, events: SimpleQueue[ActionEvent]) -> None:
        self._events = events
        self._pool: ThreadPoolExecutor | None = None
        self._stop = threading.Event()

    def submit(self, label: str, fetch: Fetch) -> None:
        """Fetch one file; the last event is `Finished` or `FailedAction`."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_AT_ONCE, "mlxbuild-fetch")
        self._pool.submit(report, self._events, label, lambda: self._fetch(label, fetch))

    def _fetch(self, label: str, fetch: Fetch) -> ActionEvent:
        self._checkpoint()
        self._events.put(Begun(label))
        begun = time.perf_counter()
        with cancellation.cancelled_by(self._checkpoint):
            fetch.catalogue.fetch(
                fetch.source,
                fetch.file,
                progress=lambda done_bytes: self._events.put(Progressed(label, done_bytes)),
                checkpoint=self._checkpoint,
            )
        seconds = time.perf_counter() - begun
        return Finished(label, {"file": fetch.file.blob}, seconds, was_hit=False)

    def _checkpoint(self) -> None:
        if self._stop.is_set():
            raise Cancelled("stopped")

    def close(self, *, cancel: bool) -> None:
        """Stop; `cancel` aborts downloads, even while they wait."""
        if cancel:
            self._stop.set()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=cancel)
