"""Finds artifacts that are built from themselves, directly or through several recipes of one command."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mlxbuild.toolchain.spec.resolved import ArtifactSource, ResolvedSpec


class OrderedVariant(NamedTuple):
    """A variant, and whether it is the first of its recipe, which also moves the tags `version` and `latest`."""

    spec: ResolvedSpec
    first: bool

    def names(self) -> Iterator[str]:
        """Every store name whose tag a build of it moves, or may move."""
        spec = self.spec
        for label in spec.labels:
            yield f"{spec.name}:{label}-{spec.version}"
            yield f"{spec.name}:{label}"
        if self.first:
            yield f"{spec.name}:{spec.version}"
            yield f"{spec.name}:latest"


def cycles(built: Iterable[OrderedVariant]) -> tuple[tuple[ResolvedSpec, ...], ...]:
    """Each cycle once, starting with the variant that comes first.

    A base with a digest is fixed content, and a base with a host is in a registry: neither closes a cycle.
    """
    specs = list(built)
    maker = {name: number for number, it in enumerate(specs) for name in it.names()}
    base = [maker.get(_local_name(it.spec)) for it in specs]
    done: set[int] = set()
    loops = []
    for start in range(len(specs)):
        way: list[int] = []
        here: int | None = start
        while here is not None and here not in done and here not in way:
            way.append(here)
            here = base[here]
        if here is not None and here in way:
            loops.append(tuple(specs[number].spec for number in way[way.index(here) :]))
        done.update(way)
    return tuple(loops)


def _local_name(spec: ResolvedSpec) -> str:
    if not isinstance(spec.base, ArtifactSource):
        return ""
    reference = spec.base.reference
    return reference.store_name if reference.host is None and reference.digest is None else ""
