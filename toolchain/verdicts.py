"""What the gates of a build said: their results are read from the store, reported, and turned into errors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.events.model import GateReported
from mlxbuild.toolchain.events.stream import EventStream
from mlxbuild.toolchain.gates.result import GateFailed, GateResult


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What the gates of one variant said."""

    results: tuple[GateResult, ...]
    """Those of the gates that ran; a gate that could not run is an error of its own."""
    is_complete: bool

    @property
    def refusal(self) -> str | None:
        """Why no tag may move, in a few words; None if all gates ran and passed."""
        if not all(result.passed for result in self.results):
            return "gates failed"
        return None if self.is_complete else "gates did not run"


def read_verdicts(
    gates: Iterable[str], outputs: Mapping[str, Mapping[str, Blob]], store: Store, stream: EventStream
) -> Verdicts:
    """Read and report what the gates with some labels said."""
    results, is_complete = [], True
    for label in gates:
        if (found := outputs.get(label)) is None:
            is_complete = False
            continue
        result = GateResult.from_json(json.loads(store.read(found["result"].digest)))
        stream.emit(GateReported(label, result.passed, result.message))
        results.append(result)
    return Verdicts(tuple(results), is_complete)


def gate_errors(label: str, digest: Digest | None, results: tuple[GateResult, ...]) -> list[GateFailed]:
    """The error of a variant if gates of it have failed."""
    if all(result.passed for result in results):
        return []
    return [
        GateFailed(
            results, where=label, hint=f"its tags did not move; inspect it by its digest: `mlxbuild show {digest}`"
        )
    ]
