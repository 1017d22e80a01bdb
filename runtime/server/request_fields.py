"""Reads and validates the body of a request, and logs its unknown fields, which are ignored."""

from __future__ import annotations

import functools
from collections import OrderedDict
from typing import Any

from pydantic import BaseModel
from sanic import Request

from mlxbuild.runtime.server.bodies import Body, checked, read_json
from mlxbuild.runtime.server.logger import log
from mlxbuild.runtime.server.ollama.body import NativeBody

_MOST_REMEMBERED = 4096
_LONGEST = 80
"""How many characters of a name are logged."""
_told: OrderedDict[tuple[str, str, str], None] = OrderedDict()


async def read_request(request: Request, model: type[Body]) -> Body:
    """Read and validate the body of a request.

    Raises:
        InvalidRequest: the body is not a JSON object, or a field is wrong, which the error names.
        RequestTooLarge, RequestTooSlow, ContentCodingNotSupported: as for `bodies.read_body`.
    """
    return known_body(request, model, await read_json(request))


def known_body(request: Request, model: type[Body], document: dict[str, Any]) -> Body:
    """Validate a body that was already read.

    Raises:
        InvalidRequest: a field is wrong; the error names it.
    """
    body = checked(model, document)
    tell_unknown(model, document, route=request.path, client=request.headers.get("user-agent", ""))
    return body


def tell_unknown(model: type[BaseModel], document: dict[str, Any], *, route: str, client: str) -> None:
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
def _known(model: type[BaseModel]) -> tuple[frozenset[str], bool]:
    """The names of a model's fields, and whether they match case-insensitively."""
    return frozenset(field.alias or name for name, field in model.model_fields.items()), issubclass(model, NativeBody)
