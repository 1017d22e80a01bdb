"""What a gate came to, and the error when it did not hold. How gates are judged lives one kind a file beside this."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mlxbuild.registry.core.errors import StepError


@dataclass(frozen=True, slots=True)
class GateResult:
    """One gate of one artifact. The same artifact and gate give the same result: there is no time in it."""

    name: str
    kind: str
    passed: bool
    message: str
    """What was seen; for a gate that failed also what was wanted. May have several lines."""
    measured: Mapping[str, Any] = field(default_factory=dict)
    """Plain JSON data: figures, answers, token ids."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> GateResult:
        """Read what `to_json` gave."""
        return cls(**document)


class GateFailed(StepError):
    """Gates of an artifact did not hold. The artifact stays, and no tag moves to it."""

    code = "gate-failed"
    exit_code = 4

    def __init__(self, results: Iterable[GateResult], *, where: str, hint: str | None = None) -> None:
        """All results, of which the failed ones are told; `where` is the artifact's name or digest."""
        failed = [result for result in results if not result.passed]
        told = "\n\n".join(f"{result.name} ({result.kind}): {result.message}" for result in failed)
        count = "a gate" if len(failed) == 1 else f"{len(failed)} gates"
        super().__init__(f"{count} failed\n\n{told}", where=where, hint=hint)
        self.failed = tuple(failed)
