"""The result of a gate, and the error for gates that failed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from mlxbuild.registry.core.errors import StepError


@dataclass(frozen=True, slots=True)
class GateResult:
    """The result of one gate for one artifact. It has no time: the same artifact and gate give the same result."""

    name: str
    kind: str
    passed: bool
    message: str
    """The observed value and, for a failed gate, the expected one. May have several lines."""
    measured: Mapping[str, Any] = field(default_factory=dict)
    """Measured values as plain JSON data: numbers, answers, token ids."""

    def to_json(self) -> dict[str, Any]:
        """The result as plain JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> GateResult:
        """The inverse of `to_json`."""
        return cls(**document)


class GateFailed(StepError):
    """Gates of an artifact failed. The artifact stays in the store, and no tag moves to it."""

    code = "gate-failed"
    exit_code = 4

    def __init__(self, results: Iterable[GateResult], *, where: str, hint: str | None = None) -> None:
        """`results` may include passed gates, which are not reported; `where` is the artifact's name or digest."""
        failed = [result for result in results if not result.passed]
        told = "\n\n".join(f"{result.name} ({result.kind}): {result.message}" for result in failed)
        count = "a gate" if len(failed) == 1 else f"{len(failed)} gates"
        super().__init__(f"{count} failed\n\n{told}", where=where, hint=hint)
        self.failed = tuple(failed)
