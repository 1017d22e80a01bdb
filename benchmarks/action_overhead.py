"""What mlxbuild adds to an action's own work: ten thousand trivial actions through the real execution and store."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

from benchmarks.finding import Finding
from benchmarks.measurement import middle
from benchmarks.workplace import fresh_folder
from mlxbuild.registry.core.digest import Blob
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.cache.action_cache import ActionCache
from mlxbuild.toolchain.core.action import ActionRecord, Node, OutputsOf
from mlxbuild.toolchain.core.step import StepContext
from mlxbuild.toolchain.core.steps import StepKind
from mlxbuild.toolchain.events.journal import Journal
from mlxbuild.toolchain.events.stream import EventStream
from mlxbuild.toolchain.execute.execution import Execution, ExecutionOptions
from mlxbuild.toolchain.execute.inline import InlineExecutor
from mlxbuild.toolchain.execute.perform import ExecutionContext
from mlxbuild.toolchain.graph.graph import assemble

_PARTS, _WHOLES = 9, 1000
_ACTIONS = (_PARTS + 1) * _WHOLES


class TrivialStep:
    """Stores a few bytes of its own."""

    kind = "trivial"
    implementation = 1
    tools: tuple[str, ...] = ()

    def run(self, record: ActionRecord, context: StepContext) -> Mapping[str, Blob]:
        """Outputs: `out`."""
        return {"out": context.store.put(str(record.parameters["number"]).encode())}


_STEPS = {"trivial": StepKind("trivial", 1, (), f"{__name__}:TrivialStep")}


def measure(runs: int) -> Iterator[Finding]:
    """Milliseconds for each action, when all of them run and when all of them hit."""
    ran, hit = [], []
    for _ in range(runs):
        with fresh_folder() as folder:
            store = Store.open(Home(folder))
            ran.append(_seconds(store, "ran"))
            hit.append(_seconds(store, "hit"))
    for outcome, seconds in (("run", ran), ("hit", hit)):
        each = middle(seconds, float) / _ACTIONS * 1000
        yield Finding(f"overhead of an action, {_ACTIONS:,} that {outcome}", "ms", each, 2.0)


def _seconds(store: Store, expected: str) -> float:
    begun = time.perf_counter()
    stream = EventStream([Journal(store.home, expected)])
    result = Execution(
        assemble(_nodes(), {}),
        ActionCache(store, steps=_STEPS),
        InlineExecutor(replace(ExecutionContext.of(store), steps=_STEPS)),
        stream,
        ExecutionOptions(),
    ).run()
    stream.close()
    seconds = time.perf_counter() - begun
    if result.count() != {expected: _ACTIONS}:
        raise RuntimeError(f"expected that all actions {expected}, and got {result.count()}")
    return seconds


def _nodes() -> Iterator[Node]:
    """A thousand wholes of nine parts each, shaped as models are of blocks."""
    for whole in range(_WHOLES):
        parts = [f"model-{whole}/part/{part}" for part in range(_PARTS)]
        for part, label in enumerate(parts):
            yield Node(label, "trivial", {"number": whole * (_PARTS + 1) + part}, {})
        inputs = {f"part-{part}": OutputsOf(label) for part, label in enumerate(parts)}
        yield Node(f"model-{whole}/whole", "trivial", {"number": whole * (_PARTS + 1) + _PARTS}, inputs)
