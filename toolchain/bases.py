"""What a build makes of other artifacts, towards the trust policy: they are held to it, and remembered as bases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.origins import Origin, Origins
from mlxbuild.registry.trust.policy import admit
from mlxbuild.toolchain.graph.compile import LockedVariant


def admit_bases(variants: Sequence[LockedVariant], store: Store, tell: Callable[[str], None]) -> None:
    """Hold what variants are built from to the policy: a build would give it another name and digest.

    Raises:
        Untrusted: the policy refuses one of them.
        InvalidPolicy, KeyUnusable: the policy cannot be read.
    """
    for digest, reference in {base: name for variant in variants for base, name in _bases(variant).items()}.items():
        admit(store, reference, digest, tell=tell)


def record_bases(built: Mapping[Digest, LockedVariant], store: Store) -> None:
    """Note what was built from which artifacts, for a policy that comes or changes later.

    Raises:
        DiskFull, StoreReadOnly, StoreFailure: nothing was noted.
    """
    found = {digest: Origin(bases=tuple(bases)) for digest, variant in built.items() if (bases := _bases(variant))}
    if found:
        Origins(store.home).record(found)


def _bases(variant: LockedVariant) -> dict[Digest, Reference]:
    """The artifacts that a variant is built from, with their names in the recipe."""
    sources = (source for source in variant.sources if source.kind == "artifact" and source.pinned is not None)
    return {Digest.parse(str(source.pinned)): Reference.parse(source.identity) for source in sources}
