"""Per-module overrides of a quantization: which globs match a module, and which can concern a block."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from toolchain.spec.resolved import QuantizationScheme
from toolchain.weights.blocks import EMBEDDINGS, HEAD, layer_index

Override = tuple[str, QuantizationScheme | None]

_WILDCARD = re.compile(r"[*?\[]")


def relevant_overrides(overrides: Sequence[Override], label: str) -> tuple[Override, ...]:
    """Those that can match a module of the block, in order.

    A glob whose text before its first wildcard names a layer (`model.layers.3.*`) matches modules of that layer
    alone, so it concerns that block alone. Any other glob may match anywhere.
    """
    return tuple(override for override in overrides if _may_match(override[0], label))


def matching_override(overrides: Sequence[Override], module: str) -> Override | None:
    """The override that holds for a module path: the last one that matches."""
    return next((override for override in reversed(overrides) if fnmatchcase(module, override[0])), None)


def names_exactly(glob: str) -> bool:
    """Whether the glob is one module's full path."""
    return _WILDCARD.search(glob) is None


def _may_match(glob: str, label: str) -> bool:
    wildcard = _WILDCARD.search(glob)
    if wildcard is None:
        index = layer_index(glob)
        return index == _index_of(label)
    # The component that the wildcard is in may go on, so only those before it are known.
    index = layer_index(glob[: wildcard.start()].rpartition(".")[0])
    return index is None or index == _index_of(label)


def _index_of(label: str) -> int | None:
    return None if label in (EMBEDDINGS, HEAD) else int(label)
