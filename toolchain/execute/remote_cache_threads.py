"""The threads that read from and write to remote caches; failures are warnings, so no build fails for them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from mlxbuild.registry.core import cancellation
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.core.quantities import format_bytes
from mlxbuild.toolchain.cache.remote import RemoteTraces
from mlxbuild.toolchain.cache.traces import Trace
from mlxbuild.toolchain.events.model import Noted, Warned
from mlxbuild.toolchain.events.stream import EventStream
from mlxbuild.toolchain.execute.port import ActionEvent, Answered

_AT_ONCE = 8  # threads mostly wait for the network


class RemoteCacheThreads:
    """A few threads that look traces up in a remote cache, and a few that push what it lacks."""

    def __init__(self, reads: RemoteTraces | None, writes: RemoteTraces | None, stream: EventStream) -> None:
        self._reads = reads
        self._writes = writes
        self._stream = stream
        self._told: set[str] = set()
        self._lock = threading.Lock()
        self._events: SimpleQueue[ActionEvent] = SimpleQueue()
        self._stop = threading.Event()
        # Two pools, because the build waits for answers, which must not wait for uploads.
        self._readers = self._pool("mlxbuild-cache-reader")
        self._writers = self._pool("mlxbuild-cache-writer")
        self._sent: set[Digest] = set()  # several actions can have one key
        self._found = 0
        self._kept = 0
        self._uploaded = 0
        self._uploaded_bytes = 0

    def _pool(self, name: str) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_AT_ONCE, name, initializer=cancellation.begin_thread, initargs=(self._stop,))

    def start(self, events: SimpleQueue[ActionEvent]) -> None:
        """Start; all events go to this queue from now on."""
        self._events = events

    @property
    def can_answer(self) -> bool:
        """Whether there is a repository to read from."""
        return self._reads is not None

    def ask(self, label: str, key: Digest) -> None:
        """Look up an action; the event `Answered` follows."""
        self._readers.submit(self._ask, label, key)

    def _ask(self, label: str, key: Digest) -> None:
        trace = None
        try:
            trace = self._reads.fetch(key) if self._reads is not None else None
        except Exception as error:  # noqa: BLE001 - an answer must come, or the build would wait for ever
            self._warn(error)
        with self._lock:
            self._found += trace is not None
        self._events.put(Answered(label, trace))

    def tell(self, trace: Trace) -> None:
        """Push a trace in the background, unless the repository has it. Called by the execution's thread alone."""
        if self._writes is not None and trace.key not in self._sent:
            self._sent.add(trace.key)
            self._writers.submit(self._tell, self._writes, trace)

    def _tell(self, writes: RemoteTraces, trace: Trace) -> None:
        try:
            sent_bytes = writes.publish(trace)
        except Exception as error:  # noqa: BLE001 - a build that succeeded does not fail here
            self._warn(error)
            return
        with self._lock:
            self._kept += sent_bytes is None
            self._uploaded += sent_bytes is not None
            self._uploaded_bytes += sent_bytes or 0

    def _warn(self, error: Exception) -> None:
        """Emit a warning once, however many actions hit the same error."""
        if isinstance(error, cancellation.Cancelled):
            return
        message = error.message if isinstance(error, MlxbuildError) else f"{type(error).__name__}: {error}"
        with self._lock:
            is_news = message not in self._told
            self._told.add(message)
        if is_news:
            self._stream.emit(Warned(f"the remote cache cannot be used: {message}"))

    def close(self, *, cancel: bool) -> None:
        """Wait for requests in progress, and note what came and went; `cancel` aborts them and drops queued ones."""
        if cancel:
            self._stop.set()
        try:
            for pool in (self._readers, self._writers):
                pool.shutdown(wait=True, cancel_futures=cancel)
        except BaseException:  # also KeyboardInterrupt
            self._stop.set()
            raise
        if not cancel:
            self._stream.emit(Noted(f"remote cache: {self._summary()}"))

    def _summary(self) -> str:
        """What was uploaded to the remote cache and what was found in it."""
        parts = []
        if self._writes is not None:
            results = "result" if self._uploaded == 1 else "results"
            parts.append(f"{self._uploaded} {results} uploaded ({format_bytes(self._uploaded_bytes)})")
            parts += [f"{self._kept} there already"] if self._kept else []
        if self._reads is not None:
            parts.append(f"{self._found} found")
        return ", ".join(parts)
