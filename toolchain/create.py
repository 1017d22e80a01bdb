"""Runs a whole build: compiles locked variants to a graph, runs it, evaluates gates and moves tags.

A variant whose gates fail stays in the store under its digest, and its tags do not move.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from mlxbuild.registry.artifact.modelpack import tag_descriptor
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.artifact.versions import VersionTagMoves, moves
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.errors import Kind, MlxbuildError, StepError
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.bases import admit_bases, record_bases
from mlxbuild.toolchain.cache.action_cache import ActionCache
from mlxbuild.toolchain.cache.history import History
from mlxbuild.toolchain.caution import cautions
from mlxbuild.toolchain.events.model import ArtifactBuilt, GateReported, RunFinished, RunStarted, Warned
from mlxbuild.toolchain.events.stream import EventStream
from mlxbuild.toolchain.execute.execution import Execution, ExecutionOptions, RunResult
from mlxbuild.toolchain.execute.inline import InlineExecutor
from mlxbuild.toolchain.execute.perform import Workplace
from mlxbuild.toolchain.execute.port import Executor
from mlxbuild.toolchain.failures import failure
from mlxbuild.toolchain.gates.result import GateFailed, GateResult
from mlxbuild.toolchain.graph.compile import LockedVariant, VariantNodes, compile_graph
from mlxbuild.toolchain.notices import notices
from mlxbuild.toolchain.spec.resolved import ResolvedSpec

if TYPE_CHECKING:
    from mlxbuild.toolchain.execute.remote_lane import RemoteLane


class CacheExpectationBroken(StepError):
    """An action ran although everything was expected to be cached."""

    code = "not-cached"
    kind = Kind.USER
    exit_code = 8


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How to build; no option changes the resulting artifact."""

    jobs: int | None = None
    executor: Literal["inline", "process"] = "inline"
    keep_going: bool = False
    refresh: frozenset[str] = frozenset()
    """Step kinds that run even if a trace exists."""
    expect_cached: bool = False
    shuffle: int | None = None
    """Seed for shuffling the order of ready actions, to prove that the order does not matter."""
    gates: bool = True
    """Without gates, nothing is tested and no tag moves."""
    force: bool = False
    """Under CI, also move tags that name a version."""
    cache_from: str | None = None
    """Repository of the remote cache that is queried before an action runs."""
    cache_to: str | None = None
    """Repository of the remote cache that new results are pushed to."""
    salt: str = ""


@dataclass(frozen=True, slots=True)
class Built:
    """The result for one variant."""

    label: str
    digest: Digest | None
    """None if the build failed before the manifest was written."""
    tags: tuple[str, ...]
    verdicts: tuple[GateResult, ...] = ()
    """Results of the gates that ran."""


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
    stream.emit(RunStarted(run, command, tuple(goal.spec.label for goal in goals), len(graph.nodes)))
    for caution in cautions(variants):
        stream.emit(caution)
    execution = Execution(
        graph,
        ActionCache(store, refresh=options.refresh, salt=options.salt),
        make_executor(options, store),
        stream,
        ExecutionOptions(options.keep_going or bool(os.environ.get("CI")), _order(options.shuffle)),
        remote=_remote_lane(options, store, stream),
    )
    if any(goal.gates for goal in goals):
        from mlxbuild.runtime.model.blas import prefer_openblas

        prefer_openblas()  # must happen before MLX is loaded
    try:
        result = execution.run()
    except KeyboardInterrupt:
        stream.emit(RunFinished(round(time.perf_counter() - begun, 3), execution.result.count(), 130))
        raise
    packed = ((result.outputs.get(goal.pack), variant) for goal, variant in zip(goals, variants, strict=True))
    record_bases({outputs["manifest"].digest: variant for outputs, variant in packed if outputs is not None}, store)
    artifacts, refusals = _conclude(goals, result, store, stream, options)
    for sentence, labels in _warnings(variants, goals, artifacts, result, store).items():
        stream.emit(Warned(sentence, where=", ".join(labels)))
    if set(result.outcomes.values()) - {"hit"}:
        recipes = {built.digest: goal.spec.recipe for goal, built in zip(goals, artifacts, strict=True) if built.digest}
        History(store.home).remember_recipes(recipes)
    errors = [*result.errors.values(), *_gate_errors(artifacts), *refusals]
    if options.expect_cached:
        errors += _unexpected_work(result)
    for error, count in _distinct(errors):
        stream.emit(failure(error, count))
    report = BuildReport(artifacts, tuple(errors), result.count())
    stream.emit(RunFinished(round(time.perf_counter() - begun, 3), report.outcomes, report.exit_code))
    return report


def make_executor(options: BuildOptions, store: Store) -> Executor:
    """The executor that the options select."""
    workplace = Workplace.of(store, options.refresh)
    if options.executor == "process":
        from mlxbuild.toolchain.execute.process import ProcessExecutor

        return ProcessExecutor(workplace, options.jobs)
    return InlineExecutor(workplace, options.jobs)


def _remote_lane(options: BuildOptions, store: Store, stream: EventStream) -> RemoteLane | None:
    """The connection to the remote cache, or None; its dependencies are loaded only if there is one."""
    if options.cache_from is None and options.cache_to is None:
        return None
    from mlxbuild.registry.oci.remote.client import Remote
    from mlxbuild.registry.oci.remote.settings import Settings
    from mlxbuild.toolchain.cache.remote import RemoteTraces
    from mlxbuild.toolchain.execute.remote_lane import RemoteLane

    settings = Settings.load(store.home)

    def traces(repository: str | None) -> RemoteTraces | None:
        if repository is None:
            return None
        return RemoteTraces(Remote.open(Reference.parse(repository), settings, store.home), store)

    return RemoteLane(traces(options.cache_from), traces(options.cache_to), stream)


def _distinct(errors: Sequence[MlxbuildError]) -> list[tuple[MlxbuildError, int]]:
    """Each distinct error with the number of actions that raised it: a bad source fails every block that reads it."""
    counts: Counter[tuple[str, str]] = Counter((error.code, error.message) for error in errors)
    first = {(error.code, error.message): error for error in reversed(errors)}
    return [(first[key], count) for key, count in counts.items()]


def tags_of(spec: ResolvedSpec, *, is_default: bool) -> tuple[str, ...]:
    """The tags that a build moves: `name:variant-version`, `name:variant`, and short ones for the first variant."""
    tags = (f"{spec.name}:{spec.variant}-{spec.version}", f"{spec.name}:{spec.variant}")
    return (*tags, f"{spec.name}:{spec.version}", f"{spec.name}:latest") if is_default else tags


def _warnings(
    variants: Sequence[LockedVariant],
    goals: Sequence[VariantNodes],
    artifacts: Sequence[Built],
    result: RunResult,
    store: Store,
) -> dict[str, list[str]]:
    """Warnings about what was built or found in the cache, by artifact label."""
    warned: dict[str, list[str]] = {}
    for variant, goal, built in zip(variants, goals, artifacts, strict=True):
        if built.digest is None:
            continue
        sentences = list(notices(variant, Artifact.open(store, built.digest)))
        if (blob := result.outputs.get(goal.template, {}).get("warnings")) is not None:
            sentences += json.loads(store.read(blob.digest))
        for sentence in sentences:
            warned.setdefault(sentence, []).append(goal.spec.label)
    return warned


def _order(seed: int | None) -> Callable[[list[str]], list[str]]:
    if seed is None:
        return list
    import random

    source = random.Random(seed)
    return lambda labels: source.sample(labels, len(labels))


def _conclude(
    goals: Sequence[VariantNodes], result: RunResult, store: Store, stream: EventStream, options: BuildOptions
) -> tuple[tuple[Built, ...], list[VersionTagMoves]]:
    """Evaluate the gates of every variant and move the tags of all that pass at once.

    Under CI, a variant whose version tag would move to another artifact moves no tag; it is returned as an error.
    """
    built, refusals = [], []
    keeps_versions = bool(os.environ.get("CI")) and not options.force
    moved: dict[str, Blob] = {}
    for goal in goals:
        outputs = result.outputs.get(goal.pack)
        if outputs is None or result.outcomes.get(goal.pack) == "skipped":
            built.append(Built(goal.spec.label, None, ()))
            continue
        manifest = outputs["manifest"]
        verdicts = [_verdict(label, result, store, stream) for label in goal.gates]
        passes = all(verdict is not None and verdict.passed for verdict in verdicts)
        tags = tags_of(goal.spec, is_default=goal.is_default) if passes and options.gates else ()
        moving = moves(store, dict.fromkeys(tags, manifest.digest))
        if moving and keeps_versions:
            refusals.append(moving[0].refused("build with --force: in CI, version tags do not move without it"))
            tags = ()
        else:
            for move in moving:
                stream.emit(Warned(str(move), where=goal.spec.label))
        moved |= dict.fromkeys(tags, manifest)
        known = tuple(verdict for verdict in verdicts if verdict is not None)
        built.append(Built(goal.spec.label, manifest.digest, tags, known))
    store.tags.set({tag: tag_descriptor(manifest) for tag, manifest in _moved(moved, store).items()})
    for artifact in built:
        if artifact.digest is not None:
            size_bytes = Artifact.open(store, artifact.digest).size_bytes
            stream.emit(ArtifactBuilt(artifact.label, str(artifact.digest), size_bytes, artifact.tags))
    return tuple(built), refusals


def _moved(tags: dict[str, Blob], store: Store) -> dict[str, Blob]:
    """The tags that do not point to their target yet: a build with nothing to do writes nothing."""
    present = {name: descriptor.digest for name, descriptor in store.tags.items()}
    return {tag: manifest for tag, manifest in tags.items() if present.get(tag) != manifest.digest}


def _verdict(label: str, result: RunResult, store: Store, stream: EventStream) -> GateResult | None:
    """The result of a gate; None if it could not run, which is reported as an error of its own."""
    outputs = result.outputs.get(label)
    if outputs is None:
        return None
    verdict = GateResult.from_json(json.loads(store.read(outputs["result"].digest)))
    stream.emit(GateReported(label, verdict.passed, verdict.message))
    return verdict


def _gate_errors(artifacts: Iterable[Built]) -> list[MlxbuildError]:
    """One error per variant with failed gates."""
    return [
        GateFailed(
            artifact.verdicts,
            where=artifact.label,
            hint=f"no tag moved; inspect it by its digest: `mlxbuild show {artifact.digest}`",
        )
        for artifact in artifacts
        if not all(verdict.passed for verdict in artifact.verdicts)
    ]


def _unexpected_work(result: RunResult) -> list[MlxbuildError]:
    ran = sorted(label for label, outcome in result.outcomes.items() if outcome == "ran")
    if not ran:
        return []
    return [
        CacheExpectationBroken(
            f"{len(ran)} actions ran, {ran[0]} first",
            where=ran[0],
            hint="`mlxbuild log last` tells the reason of each; `mlxbuild why` compares the inputs",
        )
    ]
