"""Builds locked variants, stage by stage: plan, execute, judge by gates, publish, report. Each stage has its own file.

Reading recipes and locking their sources comes before, in `prepare.py`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from mlxbuild.registry.core.errors import Kind, MlxbuildError, StepError
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.model.blas import prefer_openblas
from mlxbuild.toolchain.bases import admit_bases, record_bases
from mlxbuild.toolchain.cache.history import History
from mlxbuild.toolchain.caution import cautions
from mlxbuild.toolchain.events.model import RunFinished, RunStarted, Warned
from mlxbuild.toolchain.events.stream import EventStream
from mlxbuild.toolchain.execute.execution import RunResult
from mlxbuild.toolchain.execute.setup import set_up
from mlxbuild.toolchain.failures import distinct_failures
from mlxbuild.toolchain.graph.compile import LockedVariant, VariantNodes, compile_graph
from mlxbuild.toolchain.graph.graph import Graph
from mlxbuild.toolchain.notices import warnings_of
from mlxbuild.toolchain.options import BuildOptions
from mlxbuild.toolchain.publish import Built, publish
from mlxbuild.toolchain.verdicts import gate_errors, read_verdicts


class CacheExpectationBroken(StepError):
    """An action ran although everything was expected to be cached."""

    code = "not-cached"
    kind = Kind.USER
    exit_code = 8


@dataclass(frozen=True, slots=True)
class BuildReport:
    """The result of a build."""

    artifacts: tuple[Built, ...]
    errors: tuple[MlxbuildError, ...]
    outcomes: dict[str, int] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0, or the exit code of the first error."""
        return self.errors[0].exit_code if self.errors else 0


def create(
    variants: Sequence[LockedVariant],
    store: Store,
    stream: EventStream,
    *,
    run: str,
    command: tuple[str, ...] = ("create",),
    options: BuildOptions | None = None,
) -> BuildReport:
    """Build variants and move the tags of those that pass their gates.

    Raises:
        Untrusted: the trust policy refuses an artifact that a variant is built from.
        MlxbuildError: the graph cannot be compiled. Failures of single actions are in the report instead.
    """
    options = options or BuildOptions()
    admit_bases(variants, store, lambda told: stream.emit(Warned(told.removeprefix("warning: "))))

    begun = time.perf_counter()
    graph, goals = compile_graph(variants, gates=options.gates)
    stream.emit(_started(run, command, graph, goals))
    for caution in cautions(variants):
        stream.emit(caution)

    execution = set_up(graph, store, stream, options)
    if any(goal.gates for goal in goals):
        prefer_openblas()  # must happen before MLX is loaded
    try:
        result = execution.run()
    except KeyboardInterrupt:
        stream.emit(RunFinished(round(time.perf_counter() - begun, 3), execution.result.count(), 130))
        raise
    packed = [goal for goal in goals if goal.pack in result.outputs and result.outcomes.get(goal.pack) != "skipped"]
    manifests = {goal.spec.label: result.outputs[goal.pack]["manifest"] for goal in packed}

    verdicts = {goal.spec.label: read_verdicts(goal.gates, result.outputs, store, stream) for goal in packed}

    sources = {variant.spec.label: variant for variant in variants}
    record_bases({manifest.digest: sources[label] for label, manifest in manifests.items()}, store)
    artifacts, refusals = publish(goals, manifests, verdicts, store, stream, options)
    for warning in warnings_of(variants, goals, manifests, result.outputs, store):
        stream.emit(warning)
    if set(result.outcomes.values()) - {"hit"}:
        recipes = {manifests[goal.spec.label].digest: goal.spec.recipe for goal in packed}
        History(store.home).remember_recipes(recipes)

    failed = [error for built in artifacts for error in gate_errors(built.label, built.digest, built.verdicts)]
    errors = [*result.errors.values(), *failed, *refusals]
    if options.expect_cached:
        errors += _unexpected_work(result)
    for failure in distinct_failures(errors):
        stream.emit(failure)
    report = BuildReport(artifacts, tuple(errors), result.count())
    stream.emit(RunFinished(round(time.perf_counter() - begun, 3), report.outcomes, report.exit_code))
    return report


def _unexpected_work(result: RunResult) -> list[MlxbuildError]:
    ran = sorted(label for label, outcome in result.outcomes.items() if outcome == "ran")
    if not ran:
        return []
    return [
        CacheExpectationBroken(
            f"{len(ran)} actions ran, {ran[0]} first",
            where=ran[0],
            hint="`mlxbuild log last` shows the reason of each; `mlxbuild why` compares the inputs",
        )
    ]


def _started(run: str, command: tuple[str, ...], graph: Graph, goals: Sequence[VariantNodes]) -> RunStarted:
    steps, work_bytes = Counter[str](), Counter[str]()
    for node in graph.nodes.values():
        steps[node.step] += 1
        work_bytes[node.step] += node.work_bytes
    labels = tuple(goal.spec.label for goal in goals)
    return RunStarted(run, command, labels, len(graph.nodes), dict(steps), dict(work_bytes))
