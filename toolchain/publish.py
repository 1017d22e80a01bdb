"""Publishes what was built in the store: moves the tags of all variants that passed their gates, at once.

A variant whose gates fail stays in the store under its digest, and its tags do not move.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlxbuild.registry.artifact.modelpack import tag_descriptor
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.artifact.versions import VersionTagMoves, moves
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.events.model import ArtifactBuilt, Warned
from mlxbuild.toolchain.events.stream import EventStream
from mlxbuild.toolchain.gates.result import GateResult
from mlxbuild.toolchain.graph.compile import VariantNodes
from mlxbuild.toolchain.options import BuildOptions
from mlxbuild.toolchain.spec.resolved import ResolvedSpec
from mlxbuild.toolchain.verdicts import Verdicts


@dataclass(frozen=True, slots=True)
class Built:
    """The result for one variant."""

    label: str
    digest: Digest | None
    """None if the build failed before the manifest was written."""
    tags: tuple[str, ...]
    verdicts: tuple[GateResult, ...] = ()
    """Results of the gates that ran."""
    untagged: str | None = None
    """Why no tag moved although gates were asked for."""


def publish(
    variants: Sequence[VariantNodes],
    manifests: Mapping[str, Blob],
    verdicts: Mapping[str, Verdicts],
    store: Store,
    stream: EventStream,
    options: BuildOptions,
) -> tuple[tuple[Built, ...], list[VersionTagMoves]]:
    """Move the tags of the variants whose gates passed.

    Under CI, a variant whose version tag would move to another artifact moves no tag; it is returned as an error.

    Args:
        variants: All variants of the build.
        manifests: Those of the variants that were built, by label.
        verdicts: What the gates of these said, by label.
        store: Holds the artifacts and the tags.
        stream: Gets a warning for version tags that move, and an event for each artifact.
        options: Whether gates ran, and whether version tags may move.
    """
    built, refusals = [], []
    moved: dict[str, Blob] = {}
    for variant in variants:
        label = variant.spec.label
        if (manifest := manifests.get(label)) is None:
            built.append(Built(label, None, ()))
            continue
        untagged = verdicts[label].refusal if options.gates else None
        passed = options.gates and untagged is None
        tags = tags_of(variant.spec, is_default=variant.is_default) if passed else ()
        moving = moves(store, dict.fromkeys(tags, manifest.digest))
        if moving and options.in_ci and not options.force:
            refusals.append(moving[0].refused("build with --force: in CI, version tags do not move without it"))
            tags, untagged = (), "a version tag is taken"
        else:
            for move in moving:
                stream.emit(Warned(str(move), where=label))
        moved |= dict.fromkeys(tags, manifest)
        built.append(Built(label, manifest.digest, tags, verdicts[label].results, untagged))
    store.tags.set({tag: tag_descriptor(manifest) for tag, manifest in _changed(moved, store).items()})
    for artifact in built:
        if artifact.digest is not None:
            size_bytes = Artifact.open(store, artifact.digest).size_bytes
            event = ArtifactBuilt(
                artifact.label, str(artifact.digest), size_bytes, artifact.tags, untagged=artifact.untagged
            )
            stream.emit(event)
    return tuple(built), refusals


def tags_of(spec: ResolvedSpec, *, is_default: bool) -> tuple[str, ...]:
    """The tags that a build moves: `name:variant-version`, `name:variant`, and short ones for the first variant."""
    tags = (f"{spec.name}:{spec.variant}-{spec.version}", f"{spec.name}:{spec.variant}")
    return (*tags, f"{spec.name}:{spec.version}", f"{spec.name}:latest") if is_default else tags


def _changed(tags: dict[str, Blob], store: Store) -> dict[str, Blob]:
    """The tags that do not point to their target yet: a build with nothing to do writes nothing."""
    present = {name: descriptor.digest for name, descriptor in store.tags.items()}
    return {tag: manifest for tag, manifest in tags.items() if present.get(tag) != manifest.digest}
