"""Lists the tags of a repository and the repositories of a registry, page by page."""

from __future__ import annotations

from collections.abc import Iterator

from mlxbuild.registry.artifact import manifest as manifests
from mlxbuild.registry.artifact.manifest import InvalidManifest
from mlxbuild.registry.oci.remote.errors import RegistryFailure
from mlxbuild.registry.oci.remote.manifests import next_page
from mlxbuild.registry.oci.remote.transport import Transport

_PAGE = 1000
_MOST_PAGES = 1000
_MOST_NAMES = 100_000


def tags(transport: Transport) -> Iterator[str]:
    """See `Remote.tags`."""
    return _names(transport, f"tags/list?n={_PAGE}", "tags", "pull", ())


def catalogue(transport: Transport, prefix: str) -> Iterator[str]:
    """See `Remote.catalogue`."""
    address = f"{transport.endpoint.origin}/v2/_catalog?n={_PAGE}"
    names = _names(transport, address, "repositories", "", ("registry:catalog:*",))
    return (name for name in names if name.startswith(prefix))


def _names(transport: Transport, first: str, key: str, actions: str, other_scopes: tuple[str, ...]) -> Iterator[str]:
    following: str | None = first
    seen: set[str] = set()
    count = 0
    while following is not None and following not in seen:
        seen.add(following)
        answer = transport.request("GET", following, actions=actions, other_scopes=other_scopes)
        if len(seen) > _MOST_PAGES or count > _MOST_NAMES:
            raise RegistryFailure(
                f"the list of {key} is too long: more than {_MOST_NAMES} names or {_MOST_PAGES} pages",
                where=answer.where,
                hint="name what you want by its tag or digest",
            )
        try:
            names = manifests.json_object(answer.body, answer.where).get(key, ())
        except InvalidManifest:
            names = ()
        if names is None:  # how some registries answer for an empty repository
            names = []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise RegistryFailure(f"the list of {key} is invalid", where=answer.where)
        count += len(names)
        yield from names
        following = next_page(answer)
