"""Per-module overrides of the quantization: which globs match a module, and which may match in a block."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.core.suggestions import closest
from mlxbuild.toolchain.core.lock import LockedSource
from mlxbuild.toolchain.spec.resolved import QuantizationScheme, ResolvedSpec
from mlxbuild.toolchain.weights.blocks import EMBEDDINGS, HEAD, layer_index

Override = tuple[str, QuantizationScheme | None]

_WILDCARD = re.compile(r"[*?\[]")


class IdleOverride(UserError):
    """A recipe sets the quantization of modules that the model does not have."""

    code = "idle-override"


@dataclass(frozen=True, slots=True)
class Idle:
    """An override that matches no tensor of the base."""

    message: str
    hint: str
    is_certain: bool
    """Whether only the number is wrong, as in a layer after the last. Otherwise mlx-lm may name modules differently."""


def relevant_overrides(overrides: Sequence[Override], label: str) -> tuple[Override, ...]:
    """The overrides that can match a module of the block, in order.

    A glob that names a layer before its first wildcard (`model.layers.3.*`) only matches modules of that layer, so it
    is relevant for that block alone. Any other glob may match anywhere.
    """
    return tuple(override for override in overrides if _may_match(override[0], label))


def matching_override(overrides: Sequence[Override], module: str) -> Override | None:
    """The override that applies to a module path: the last one that matches."""
    return next((override for override in reversed(overrides) if fnmatchcase(module, override[0])), None)


def idle_overrides(spec: ResolvedSpec, base: LockedSource) -> tuple[Idle, ...]:
    """The unmatched overrides of a variant. Empty for GGUF files, whose names are not those of modules."""
    tensors = () if base.gguf is not None else base.tensors
    modules = {tensor.name.rpartition(".")[0] for tensor in tensors}
    overrides = spec.quantization.overrides if modules else ()
    return tuple(_idle(glob, modules) for glob, _ in overrides if not _matches(glob, modules))


def _idle(glob: str, modules: set[str]) -> Idle:
    any_number = ".".join("*" if word.isdigit() else word for word in glob.split("."))
    near = _nearest(glob, any_number, modules)
    return Idle(
        f"the override `{glob}` matches no tensor of the base",
        f"did you mean `{near}`?" if near else "the lock lists the tensors",
        is_certain=_matches(any_number, modules),
    )


def _matches(glob: str, modules: Iterable[str]) -> bool:
    return any(fnmatchcase(module, glob) for module in modules)


def _nearest(glob: str, any_number: str, modules: set[str]) -> str | None:
    """The name of a module, or of all below one, that is most similar to a glob, with the numbers next to its own."""
    names = {tuple("*" if word.isdigit() else word for word in module.split(".")) for module in modules}
    known = {".".join(name) for name in names}
    known |= {".".join((*name[:depth], "*")) for name in names for depth in range(1, len(name))}
    found = closest(any_number, sorted(known))
    words = glob.split(".")
    if found is None or len(found.split(".")) != len(words):
        return found
    places = [place for place, word in enumerate(words) if word.isdigit()]
    numbers = {
        tuple(int(parts[place]) for place in places)
        for module in modules
        if fnmatchcase(module, found) and all((parts := module.split("."))[place].isdigit() for place in places)
    }
    if not numbers:
        return found
    wanted = [int(words[place]) for place in places]
    near = min(numbers, key=lambda each: [abs(one - other) for one, other in zip(each, wanted, strict=True)])
    numbered = dict(zip(places, map(str, near), strict=True))
    return ".".join(numbered.get(place, word) for place, word in enumerate(found.split(".")))


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
