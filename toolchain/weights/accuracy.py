"""How accurately an artifact represents tensors of a quantized source, as stored in `mlxbuild/accuracy.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, get_args

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core import canonical_json
from mlxbuild.runtime.model.files import ACCURACY_FILE
from mlxbuild.toolchain.weights.decoded import Accuracy

KINDS: Final[tuple[Accuracy, ...]] = get_args(Accuracy)
"""From the most accurate to the least."""

_SCHEMA = 1


def accuracy_document(accuracies: Mapping[str, Accuracy], errors: Mapping[str, float]) -> bytes:
    """The content of the file: the sorted tensor names of each accuracy, and the measured relative root
    mean square errors of source tensors."""
    measured = {"errors": dict(errors)} if errors else {}
    named = {kind: sorted(name for name, each in accuracies.items() if each == kind) for kind in KINDS}
    return canonical_json.encode({"schema": _SCHEMA, **named, **measured})


def accuracies_of(artifact: Artifact) -> Mapping[str, Accuracy]:
    """Tensor name to accuracy, as recorded in the artifact; empty if its source was not quantized.

    Raises:
        BlobMissing, BlobCorrupt: the file cannot be read.
    """
    return {} if artifact.file(ACCURACY_FILE) is None else accuracies_in(artifact.read(ACCURACY_FILE))


def accuracies_in(content: bytes) -> dict[str, Accuracy]:
    """Tensor name to accuracy, from the content of such a file."""
    document = json.loads(content)
    return {name: kind for kind in KINDS for name in document.get(kind, ())}


def errors_in(content: bytes) -> dict[str, float]:
    """Name of a source tensor to its measured error, from the content of such a file."""
    errors: dict[str, float] = json.loads(content).get("errors", {})
    return errors


def errors_told(artifact: Artifact) -> str:
    """The measured cost of rounding, such as `folding the scales of 7 tensors costs 6.2 % of one on
    average, and at most 8.8 % (layers.0.up_proj.weight)`; empty if none was measured."""
    errors = {} if artifact.file(ACCURACY_FILE) is None else errors_in(artifact.read(ACCURACY_FILE))
    if not errors:
        return ""
    mean, worst = sum(errors.values()) / len(errors), max(errors, key=lambda name: errors[name])
    return (
        f"folding the scales of {len(errors)} tensors costs {mean:.1%} of one on average, "
        f"and at most {errors[worst]:.1%} ({worst})"
    )


def accuracy_content(artifact: Artifact) -> dict[str, Any] | None:
    """The parsed file; None if there is none."""
    if artifact.file(ACCURACY_FILE) is None:
        return None
    document: dict[str, Any] = json.loads(artifact.read(ACCURACY_FILE))
    return document


def told(accuracies: Mapping[str, Accuracy]) -> str:
    """A summary such as `242 exact, 30 near of 272 tensors`; empty if there are none."""
    counts = {kind: sum(each == kind for each in accuracies.values()) for kind in KINDS}
    known = [f"{count} {kind}" for kind, count in counts.items() if count]
    return f"{', '.join(known)} of {len(accuracies)} tensors" if known else ""
