"""Logs the unknown fields of request bodies, which are ignored."""

from __future__ import annotations

import functools
from collections import OrderedDict
from typing import Any

from mlxbuild.runtime.server.bodies.request_body import RequestBody
from mlxbuild.runtime.server.logger import log

_MOST_REMEMBERED = 4096
_LONGEST = 80
"""How many characters of a name are logged."""
_told: OrderedDict[tuple[str, str, str], None] = OrderedDict()


def tell_unknown(model: type[RequestBody], document: dict[str, Any], *, route: str, client: str) -> None:
    """Log every unknown field, once per client, route and name."""
    known, folds = _known(model)
    for name in document:
        key = (client[:_LONGEST], route, name[:_LONGEST])
        if (name.lower() if folds else name) in known or key in _told:
            continue
        _told[key] = None
        if len(_told) > _MOST_REMEMBERED:
            _told.popitem(last=False)
        log.warning("field-ignored", field=key[2], path=route, user_agent=key[0])


@functools.cache
def _known(model: type[RequestBody]) -> tuple[frozenset[str], bool]:
    """The names of a model's fields, and whether they match case-insensitively."""
    return frozenset(field.alias or name for name, field in model.model_fields.items()), model.folds_names
