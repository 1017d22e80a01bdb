"""What is wrong with a response format that is asked for."""

from __future__ import annotations

from mlxbuild.registry.core.errors import UserError

TELLING_APART = "use `anyOf`, or have each object of the `oneOf` require a property with a `const` of its own"
"""How a `oneOf` becomes one that can be held."""


class InvalidSchema(UserError):
    """A JSON Schema is not valid."""

    code = "invalid-schema"


class FormatNotSupported(UserError):
    """An answer cannot be held to the form that was asked for."""

    code = "format-not-supported"
