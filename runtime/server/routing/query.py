"""The query of a request: its parameters are the fields of a model, and no handler sees others."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from pydantic import ConfigDict
from sanic import Request

from mlxbuild.runtime.server.bodies.request_body import RequestBody
from mlxbuild.runtime.server.bodies.validation import checked


class Query(RequestBody):
    """The parameters of a route's query, described by the texts below them; an empty one counts as absent."""

    model_config = ConfigDict(strict=False, use_attribute_docstrings=True)
    flags: ClassVar[frozenset[str]] = frozenset()
    """The parameters that count if they are there, even without a value."""


Parameters = TypeVar("Parameters", bound=Query)


def read_query(request: Request, model: type[Parameters]) -> Parameters:
    """Validate the query of a request; of a repeated parameter the first value counts, and unknown ones are ignored.

    Raises:
        InvalidRequest: a parameter is wrong; the error names it.
    """
    given = request.get_args(keep_blank_values=True)
    values = {name: given.get(name) for name in given}
    return checked(model, {name: value for name, value in values.items() if value or name in model.flags})
