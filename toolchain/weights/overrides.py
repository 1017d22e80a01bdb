"""Per-module overrides of the quantization: which globs match a module, and which may match in a block."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from mlxbuild.registry.core.suggestions import closest
from mlxbuild.toolchain.core.lock import LockedSource
from mlxbuild.toolchain.spec.resolved import QuantizationScheme, ResolvedSpec
from mlxbuild.toolchain.weights.blocks import EMBEDDINGS, HEAD, layer_index

Override = tuple[str, QuantizationScheme | None]

_WILDCARD = re.compile(r"[*?\[]")


def relevant_overrides(overrides: Sequence[Override], label: str) -> tuple[Override, ...]:
    """The overrides that can match a module of the block, in order.

    A glob that names a layer before its first wildcard (`model.layers.3.*`) only matches modules of that layer, so it
    is relevant for that block alone. Any other glob may match anywhere.
    """
    return tuple(override for override in overrides if _may_match(override[0], label))


def matching_override(overrides: Sequence[Override], module: str) -> Override | None:
    """The override that applies to a module path: the last one that matches."""
    return next((override for override in reversed(overrides) if fnmatchcase(module, override[0])), None)


def idle_overrides(overrides: Sequence[Override], tensors: Iterable[str]) -> tuple[tuple[str, str | None], ...]:
    """Globs that match no module of some tensors, each with the closest one that would.

    A model may name its modules differently from its files, so this is likely a mistake, but not certainly.
    """
    modules = {name.rpartition(".")[0] for name in tensors}
    idle = [glob for glob, _ in overrides if not any(fnmatchcase(module, glob) for module in modules)]
    return tuple((glob, _nearest(glob, modules)) for glob in idle)


def idle_override_notes(spec: ResolvedSpec, base: LockedSource) -> tuple[tuple[str, str], ...]:
    """The unmatched overrides of a variant as messages with hints. Empty for GGUF files, whose names are not those of
    modules."""
    tensors = () if base.gguf is not None else tuple(tensor.name for tensor in base.tensors)
    if not tensors:
        return ()
    return tuple(
        (
            f"the override `{glob}` matches no tensor of the base",
            f"did you mean `{near}`?" if near else "the lock lists the tensors",
        )
        for glob, near in idle_overrides(spec.quantization.overrides, tensors)
    )


def _nearest(glob: str, modules: Iterable[str]) -> str | None:
    """The name of a module, or of all below one, that is most similar to a glob; with the glob's own numbers."""
    words = glob.split(".")
    names = {tuple("*" if word.isdigit() else word for word in module.split(".")) for module in modules}
    known = {".".join(name) for name in names}
    known |= {".".join((*name[:depth], "*")) for name in names for depth in range(1, len(name))}
    found = closest(".".join("*" if word.isdigit() else word for word in words), sorted(known))
    if found is None or len(found.split(".")) != len(words):
        return found
    return ".".join(mine if mine.isdigit() else theirs for mine, theirs in zip(words, found.split("."), strict=True))


def names_exactly(glob: str) -> bool:
    """Whether the glob is one module's full path."""
    return _WILDCARD.search(glob) is None


def _may_match(glob: str, label: str) -> bool:
    wildcard = _WILDCARD.search(glob)
    if wildcard is None:
        index = layer_index(glob)
        return index == _index_of(label)
    # The component with the wildcard may be longer, so only those before it are known.
    index = layer_index(glob[: wildcard.start()].rpartition(".")[0])
    return index is None or index == _index_of(label)


def _index_of(label: str) -> int | None:
    return None if label in (EMBEDDINGS, HEAD) else int(label)
