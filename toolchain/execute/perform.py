"""Runs one action on this machine: takes its lock, checks the cache again, runs the step and stores the trace."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.errors import EnvironmentFailure, MlxbuildError, StepError
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.leases import exclusive_file
from mlxbuild.toolchain.cache.traces import Trace, TraceStore, stamp_of
from mlxbuild.toolchain.core.step import Step, StepContext
from mlxbuild.toolchain.core.steps import STEPS, StepKind
from mlxbuild.toolchain.execute.port import ActionRequest, Finished
from mlxbuild.toolchain.sources.errors import SourceMissing


class UnexpectedFailure(StepError):
    """A step failed in an unexpected way: a bug, or an input that nothing checks yet."""

    code = "step-broke"


@dataclass(frozen=True, slots=True)
class LocatedFiles:
    """Source files at the paths that a request gives, else in the store."""

    files: Mapping[Digest, Path]
    store: Store

    def locate(self, digest: Digest) -> Path:
        """See `SourceFiles.locate`."""
        path = self.files.get(digest)
        if path is not None:
            return path
        if self.store.has(digest):
            return self.store.path(digest)
        raise SourceMissing(f"no file with content {digest} is known here", hint="run `mlxbuild lock` again")


@dataclass(frozen=True, slots=True)
class ExecutionContext:
    """The store and the steps that actions run with on this machine."""

    store: Store
    traces: TraceStore
    steps: Mapping[str, StepKind]
    refresh: frozenset[str] = frozenset()
    """Step kinds that run even if a trace exists."""

    @classmethod
    def of(cls, store: Store, refresh: frozenset[str] = frozenset()) -> ExecutionContext:
        """The context of a store, with the regular steps."""
        return cls(store, TraceStore(store.home), STEPS, refresh)


def perform(
    request: ActionRequest,
    context: ExecutionContext,
    step: Step,
    progress: Callable[[int], None],
    checkpoint: Callable[[], None],
) -> Finished:
    """Run an action unless another process has just done so, and store its trace.

    Raises:
        MlxbuildError: the step failed; any other exception becomes an `UnexpectedFailure`.
    """
    store, traces = context.store, context.traces
    with _single_flight(store, request.key, checkpoint):
        if request.record.step not in context.refresh:
            trace = traces.find(request.key)
            if trace is not None and all(stamp_of(store, blob) is not None for blob in trace.outputs.values()):
                return Finished(request.label, trace.outputs, 0.0, was_hit=True)
        begun = time.perf_counter()
        step_context = StepContext(store, LocatedFiles(request.files, store), progress, checkpoint)
        outputs = _run(step, request, step_context)
        seconds = time.perf_counter() - begun
        stamps = {name: stamp_of(store, blob) or 0 for name, blob in outputs.items()}
        diverged_from = traces.put(Trace(request.key, request.record, outputs, seconds, stamps))
    return Finished(request.label, outputs, seconds, was_hit=False, diverged_from=diverged_from)


class StepOutOfMemory(EnvironmentFailure):
    """This machine has too little memory for a step."""

    code = "step-out-of-memory"


def _run(step: Step, request: ActionRequest, context: StepContext) -> Mapping[str, Blob]:
    try:
        return step.run(request.record, context)
    except MlxbuildError as error:
        if error.where is None:
            error.where = request.label
        raise
    except MemoryError as error:
        raise StepOutOfMemory(
            "not enough memory for this step",
            where=request.label,
            hint="close other programs, or use fewer jobs with `--jobs 1`",
        ) from error
    except Exception as error:
        raise UnexpectedFailure(
            f"{type(error).__name__}: {error}",
            where=request.label,
            hint="run again with `-v` for details; if the input is valid, this is a bug",
        ) from error


@contextlib.contextmanager
def _single_flight(store: Store, key: Digest, checkpoint: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of a key. It only prevents duplicate work: if it fails, atomic renames keep results correct."""
    path = store.home.cache / "locks" / f"{key.hex}.lock"
    with exclusive_file(path, checkpoint=checkpoint):
        yield
        path.unlink(missing_ok=True)
