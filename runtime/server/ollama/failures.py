"""Errors that the native API words as Ollama does, because clients look for these messages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.core.reference import InvalidReference
from mlxbuild.registry.store.tags import UnknownReference
from mlxbuild.runtime.server.failures import InvalidRequest, NotSupported


class FormatOfWrongKind(UserError):
    """The `format` is neither `json` nor a JSON Schema."""

    code = "format-of-wrong-kind"


def missing_model(how: str) -> UserError:
    """The error of a request without a model; `how` is the route's message, or `not found`."""
    return UnknownReference("model '' not found") if how == "not found" else InvalidRequest(how)


@contextlib.contextmanager
def names_told(name: str, *, not_found: str | None = None, malformed: str = "invalid model name") -> Iterator[None]:
    """Reword the errors of a name by a route's own messages.

    Raises:
        InvalidReference, UnknownReference: with the route's message, and the hint of the original.
    """
    try:
        yield
    except InvalidReference as error:
        raise InvalidReference(malformed, hint=f"{error.message}; {error.hint}") from None
    except UnknownReference as error:
        raise UnknownReference(not_found or f"model '{name}' not found", hint=error.hint) from None


def lacks(name: str, capability: str) -> NotSupported:
    """The error of a model that lacks the capability of a route."""
    return NotSupported(f'"{name}" does not support {capability}')


def cannot(full_name: str, capability: str, *, hint: str | None = None) -> NotSupported:
    """The error of a model that does not support a part of the request: tools, images, a suffix."""
    return NotSupported(f"{full_name} does not support {capability}", hint=hint)
