"""Tags of a repository and repositories of a registry, page by page."""

from __future__ import annotations

import json
from collections.abc import Iterator

from registry.remote.errors import RegistryFailure
from registry.remote.manifests import next_page
from registry.remote.transport import Transport

_PAGE = 1000
_MOST_PAGES = 10_000
_LIMIT_BYTES = 16 * 1024 * 1024


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
    for _ in range(_MOST_PAGES):
        if following is None or following in seen:
            return
        seen.add(following)
        answer = transport.request(
            "GET", following, actions=actions, other_scopes=other_scopes, limit_bytes=_LIMIT_BYTES
        )
        try:
            names = json.loads(answer.body)[key]
        except (ValueError, LookupError, TypeError, RecursionError):
            raise RegistryFailure(f"the list of {key} is not what it should be", where=answer.where) from None
        if names is None:  # an empty repository, for some
            names = []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise RegistryFailure(f"the list of {key} is not what it should be", where=answer.where)
        yield from names
        following = next_page(answer)
