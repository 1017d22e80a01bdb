"""What the native API refuses in words of its own, which clients look for. All other errors: `runtime.server`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.core.reference import InvalidReference
from mlxbuild.registry.store.tags import UnknownReference
from mlxbuild.runtime.server.failures import InvalidRequest, NotSupported


class OptionOfWrongType(UserError):
    """An option has a value of another type than it takes."""

    code = "option-of-wrong-type"


class FormatOfWrongKind(UserError):
    """A format is neither JSON in general nor a JSON Schema."""

    code = "format-of-wrong-kind"


def missing_model(how: str) -> UserError:
    """The error of a request without a model: a route's contract says which one."""
    return UnknownReference("model '' not found") if how == "not found" else InvalidRequest(how)


@contextlib.contextmanager
def names_told(name: str, *, not_found: str | None = None, malformed: str = "invalid model name") -> Iterator[None]:
    """Tells errors of a name in a route's own words.

    Raises:
        InvalidReference, UnknownReference: told anew, with their hints.
    """
    try:
        yield
    except InvalidReference as error:
        raise InvalidReference(malformed, hint=f"{error.message}; {error.hint}") from None
    except UnknownReference as error:
        raise UnknownReference(not_found or f"model '{name}' not found", hint=error.hint) from None


def lacks(name: str, capability: str) -> NotSupported:
    """The error of a model that cannot do what is asked for."""
    return NotSupported(f'"{name}" does not support {capability}')


def cannot(full_name: str, capability: str, *, hint: str | None = None) -> NotSupported:
    """The same, of what a request brings along: tools, images, a suffix."""
    return NotSupported(f"{full_name} does not support {capability}", hint=hint)
