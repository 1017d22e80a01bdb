"""Variables that are named as ours and that nothing reads: a misspelt one has no effect, and nobody would know."""

from __future__ import annotations

from collections.abc import Iterable

from mlxbuild.configuration.form import ServeForm
from mlxbuild.registry.core.printable import printable
from mlxbuild.registry.core.suggestions import closest
from mlxbuild.registry.oci.remote import settings as registries

_PREFIX = "MLXBUILD_"
KNOWN = frozenset(
    {
        *(f"{_PREFIX}{name}" for name in ("API_KEY", "HOME", "KEY_PASSWORD", "PROGRESS", "VERBOSE")),
        *(f"{_PREFIX}{key.upper()}" for key in ServeForm.model_fields),
        *registries.VARIABLES,
    }
)


def unknown_variables(names: Iterable[str]) -> list[str]:
    """A sentence for each of the names that begins as ours do, and that nothing reads."""
    unknown = sorted(name for name in names if name.startswith(_PREFIX) and name not in KNOWN)
    return [_sentence(name) for name in unknown]


def _sentence(name: str) -> str:
    told = f"nothing reads the variable {printable(name, kept='')}"
    ends = {known.removeprefix(_PREFIX): known for known in sorted(KNOWN)}  # all begin alike
    near = closest(name.removeprefix(_PREFIX), ends)
    return told if near is None else f"{told}; did you mean {ends[near]}?"
