"""The table at the end of a build: size, bits, seconds, cache hits and gates of each artifact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mlxbuild.cli.output import table_lines
from mlxbuild.cli.workspace import tell
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.quantities import format_bytes
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.events.model import ActionFinished, Event
from mlxbuild.toolchain.publish import Built

_INDEX = "model.safetensors.index.json"
_HEADINGS = ("VARIANT", "SIZE", "BITS", "SECONDS", "HITS", "GATES")


class BuildTable:
    """A sink that counts the actions of each variant, and prints the table."""

    def __init__(self) -> None:
        self._actions = Counter[str]()
        self._hits = Counter[str]()
        self._milliseconds = Counter[str]()
        self._has_run = False

    def handle(self, event: Event) -> None:
        """See `Sink.handle`."""
        if isinstance(event, ActionFinished) and not event.label.startswith("fetch/"):
            variant = event.label.partition("/")[0]
            self._actions[variant] += 1
            self._hits[variant] += event.outcome == "hit"
            self._milliseconds[variant] += round(event.seconds * 1000)
            self._has_run |= event.outcome in ("ran", "failed")

    def close(self) -> None:
        """See `Sink.close`."""

    def show(self, artifacts: Sequence[Built], store: Store) -> None:
        """Print the table on stderr, unless no action ran."""
        if self._has_run:
            for line in table_lines(_HEADINGS, [self._row(built, store) for built in artifacts]):
                tell(line)

    def _row(self, built: Built, store: Store) -> tuple[str, ...]:
        variant = built.label.rpartition("@")[0]
        seconds = f"{self._milliseconds[variant] / 1000:.2f}"
        hits = f"{self._hits[variant]} of {self._actions[variant]}"
        if built.digest is None:
            return variant, "failed", "-", seconds, hits, "-"
        artifact = Artifact.open(store, built.digest)
        passed, count = sum(verdict.passed for verdict in built.verdicts), len(built.verdicts)
        gates = f"{passed} of {count}{'' if passed == count else ' FAILED'}" if count else "-"
        return variant, format_bytes(artifact.size_bytes), _bits(artifact), seconds, hits, gates


def _bits(artifact: Artifact) -> str:
    """The bits per weight, scales and biases of quantized weights included."""
    metadata = artifact.read_object(_INDEX).get("metadata", {}) if artifact.file(_INDEX) is not None else {}
    parameters, size_bytes = metadata.get("total_parameters"), metadata.get("total_size")
    return f"{size_bytes * 8 / parameters:.2f}" if parameters and size_bytes else "-"
