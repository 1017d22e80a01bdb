"""Decides where artifacts of the store are pushed to, and under which tags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlxbuild.registry.artifact.versions import stored_version
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.core.reference import DEFAULT_TAG, Reference
from mlxbuild.registry.store.layout import Store


class NothingToPush(UserError):
    """No artifact in the store was selected."""

    code = "nothing-to-push"


@dataclass(frozen=True, slots=True)
class Destination:
    """An artifact, the repository that it is pushed to, and its tags there."""

    digest: Digest
    repository: Reference
    """It has no tag; with a digest, the artifact has to have that one."""
    tags: tuple[str, ...]
    others: tuple[str, ...] = ()
    """The artifact's other tags in the store, which are not pushed."""


def destination(
    store: Store, source: Reference, digest: Digest, target: Reference | None, *, short_tags: bool = False
) -> Destination:
    """The destination of one artifact: `target`, or else the name that it was asked for by.

    Its tag is that of the target, or else the one that it was asked for by, or else `latest`. With `short_tags` it also
    gets the other tags that it has in the store.

    Raises:
        NothingToPush: it was asked for by digest, which does not say where to push it, and there is no target.
    """
    if target is None and source.digest is not None:
        raise NothingToPush("a digest does not name a place to push to", hint="name the target, as host/name:tag")
    goal = target or Reference(source.repository, None, None, source.host)
    first = goal.tag or (source.tag if source.digest is None else None) or DEFAULT_TAG
    repository = Reference(goal.repository, None, goal.digest, goal.host)
    others = tuple(tag for tag in _tags(store, source.name).get(digest, ()) if tag != first)
    if short_tags:
        return Destination(digest, repository, (first, *others))
    return Destination(digest, repository, (first,), others)


def destinations_of_variants(
    store: Store, source: Reference, target: Reference | None, *, short_tags: bool = False
) -> tuple[Destination, ...]:
    """The destinations of all variants of a name, each with its most specific tags, or with all of them.

    If the name has a tag `latest`, these are the artifacts of the same version; see `of_other_versions`.

    Raises:
        NothingToPush: the store has no artifact of that name, or source or target has a tag or digest.
    """
    goal = target or source
    if source.tag or source.digest or goal.tag or goal.digest:
        raise NothingToPush("--all-variants needs a name without tag and digest", hint=f"write {source.name}")
    by_digest = _tags(store, source.name)
    for digest in _of_other_versions(store, by_digest):
        del by_digest[digest]
    if not by_digest:
        raise NothingToPush(f"the store has no variant of `{source.name}`", hint="`mlxbuild list` shows its names")
    found = sorted(by_digest.items())
    full = {digest: tags if short_tags else _full_tags(tags) for digest, tags in found}
    return tuple(
        Destination(digest, goal, full[digest], tuple(tag for tag in tags if tag not in full[digest]))
        for digest, tags in found
    )


def of_other_versions(store: Store, name: str) -> tuple[str, ...]:
    """The most specific tags under a name of artifacts that have another version than `latest`."""
    by_digest = _tags(store, name)
    return tuple(
        sorted(tag for digest in _of_other_versions(store, by_digest) for tag in _full_tags(by_digest[digest]))
    )


def _of_other_versions(store: Store, by_digest: Mapping[Digest, tuple[str, ...]]) -> tuple[Digest, ...]:
    """The artifacts that have another version than the one that `latest` names."""
    newest = next((digest for digest, tags in by_digest.items() if DEFAULT_TAG in tags), None)
    if newest is None:
        return ()
    version = stored_version(store, newest)
    return tuple(digest for digest in by_digest if stored_version(store, digest) != version)


def _tags(store: Store, name: str) -> dict[Digest, tuple[str, ...]]:
    """The tags in the store under a name, by artifact."""
    found: dict[Digest, tuple[str, ...]] = {}
    for store_name, descriptor in store.tags.items():
        repository, _, tag = store_name.rpartition(":")
        if repository == name:
            found[descriptor.digest] = (*found.get(descriptor.digest, ()), tag)
    return found


def _full_tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    """The most specific tags, such as `int4-1.0` among `int4-1.0`, `int4`, `1.0` and `latest`."""
    return tuple(tag for tag in tags if tag != DEFAULT_TAG and not any(_is_part(tag, other) for other in tags)) or tags


def _is_part(tag: str, other: str) -> bool:
    return other.startswith(f"{tag}-") or other.endswith(f"-{tag}")
