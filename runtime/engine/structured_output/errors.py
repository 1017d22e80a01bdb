"""Errors of response formats."""

from __future__ import annotations

from mlxbuild.registry.core.errors import UserError

MAKE_DISJOINT = "use `anyOf`, or have each object of the `oneOf` require a property with a `const` of its own"
"""Hint for a `oneOf` whose alternatives may overlap."""


class InvalidSchema(UserError):
    """A JSON Schema is not valid."""

    code = "invalid-schema"


class FormatNotSupported(UserError):
    """The requested structured output is not supported."""

    code = "format-not-supported"
