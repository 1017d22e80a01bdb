"""One answer of a benchmark: a figure, what it is held against, and the bound. How it was measured lies elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mlxbuild.registry.core.quantities import format_bytes

Unit = Literal["s", "ms", "B", "B/s", "actions", "answers", "tokens/s"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A figure of ours with its bound."""

    what: str
    unit: Unit
    ours: float
    bound: float | None
    """What the ratio, or without a peer the figure itself, may be at most; None where a figure is only told."""
    peer: float | None = None
    """The figure that ours is divided by."""
    peer_name: str = ""
    at_least: bool = False
    """The bound is one from below."""

    @property
    def ratio(self) -> float | None:
        """Ours by the peer's."""
        return None if self.peer is None else self.ours / self.peer

    @property
    def holds(self) -> bool:
        """Whether the bound is kept."""
        if self.bound is None:
            return True
        value = self.ours if self.ratio is None else self.ratio
        return value >= self.bound if self.at_least else value <= self.bound

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON data."""
        return {**asdict(self), "ratio": self.ratio, "holds": self.holds}


def table(findings: Sequence[Finding]) -> str:
    """All findings as aligned lines of text."""
    rows = [("WHAT", "OURS", "PEER", "RATIO", "BOUND", "HOLDS"), *map(_row, findings)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(finding: Finding) -> tuple[str, ...]:
    sign = "≥" if finding.at_least else "≤"
    bound = ""
    if finding.bound is not None:
        bound = f"{finding.bound:g}" if finding.ratio is not None else _quantity(finding.bound, finding.unit)
    return (
        finding.what,
        _quantity(finding.ours, finding.unit),
        "" if finding.peer is None else f"{_quantity(finding.peer, finding.unit)} {finding.peer_name}".rstrip(),
        "" if finding.ratio is None else f"{finding.ratio:.3f}",
        f"{sign} {bound}" if bound else "",
        ("yes" if finding.holds else "NO") if bound else "",
    )


def _quantity(value: float, unit: Unit) -> str:
    match unit:
        case "B":
            return format_bytes(round(value))
        case "B/s":
            return f"{format_bytes(round(value))}/s"
        case "tokens/s":
            return f"{value:.0f} tokens/s"
        case "actions" | "answers":
            return f"{value:g} {unit}"
        case _:
            return f"{value:.3f} {unit}" if unit == "s" else f"{value:.2f} {unit}"
