"""Checks the artifacts that a build is based on against the trust policy, and records them as bases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.origins import Origin, Origins
from mlxbuild.registry.trust.policy import admit
from mlxbuild.toolchain.graph.compile import LockedVariant


def admit_bases(variants: Sequence[LockedVariant], store: Store, tell: Callable[[str], None]) -> None:
    """Check the artifacts that variants are built from against the trust policy: a build gives content a new digest.

    Raises:
        Untrusted: the policy refuses one of them.
        InvalidPolicy, KeyUnusable: the policy cannot be read.
    """
    for digest, reference in {base: name for variant in variants for base, name in _bases(variant).items()}.items():
        admit(store, reference, digest, tell=tell)


def record_bases(built: Mapping[Digest, LockedVariant], store: Store) -> None:
    """Record which artifacts were built from which, for trust policies that are added or changed later.

    Raises:
        DiskFull, StoreReadOnly, StoreFailure: nothing was recorded.
    """
    found = {digest: Origin(bases=tuple(bases)) for digest, variant in built.items() if (bases := _bases(variant))}
    if found:
        Origins(store.home).record(found)


def _bases(variant: LockedVariant) -> dict[Digest, Reference]:
    """The artifacts that a variant is built from, with their names in the recipe."""
    sources = (source for source in variant.sources if source.kind == "artifact" and source.pinned is not None)
    return {Digest.parse(str(source.pinned)): Reference.parse(source.identity) for source in sources}
