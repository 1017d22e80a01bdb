"""Gets a manifest by its tag; a wrong name is told by what of it is wrong: the repository, or the tag."""

from __future__ import annotations

from itertools import islice

from mlxbuild.registry.core.suggestions import listed, nearest
from mlxbuild.registry.oci.remote.client import RawManifest, Remote
from mlxbuild.registry.oci.remote.errors import ManifestUnknown, RegistryFailure, RepositoryUnknown

_MOST_READ = 10_000
_MOST_NAMED = 3
_ALIKE = 0.5


def get_tagged(remote: Remote, tag: str) -> RawManifest:
    """The manifest that a tag names.

    Raises:
        ManifestUnknown: there is no such tag; the nearest ones are named if the registry lists them.
        RepositoryUnknown: there is no such repository.
        ManifestTooLarge, TransferCorrupt, RegistryFailure.
    """
    try:
        return remote.get_manifest(tag)
    except ManifestUnknown as error:
        raise _no_tag(remote, tag, error) from None
    except RepositoryUnknown as error:
        raise _no_repository(remote, error) from None


def _no_tag(remote: Remote, tag: str, error: ManifestUnknown) -> RegistryFailure:
    try:
        tags = list(islice(remote.tags(), _MOST_READ))
    except RepositoryUnknown:
        return _no_repository(remote, error)
    except RegistryFailure:
        return error  # it does not list them to everybody
    if not tags:
        return error
    near = nearest(tag, tags, most=_MOST_NAMED, close_enough=_ALIKE)
    if near:
        hint = f"did you mean {' or '.join(f'`{remote.name}:{each}`' for each in near)}?"
    elif len(tags) <= _MOST_NAMED:
        hint = f"it has {listed(tags)}"
    else:
        hint = f"it has {listed(tags[:_MOST_NAMED])} and {len(tags) - _MOST_NAMED} more"
    return ManifestUnknown(
        f"`{remote.name}` has no tag `{tag}`",
        where=None if error.where is None else str(error.where),
        hint=hint,
        status=error.status,
        registry_code=error.registry_code,
    )


def _no_repository(remote: Remote, error: RegistryFailure) -> RepositoryUnknown:
    host, _, repository = remote.name.partition("/")
    return RepositoryUnknown(
        f"{host} has no repository `{repository}`",
        where=None if error.where is None else str(error.where),
        hint="check the name before the tag; a private repository needs `mlxbuild login`",
        status=error.status,
        registry_code=error.registry_code,
    )
