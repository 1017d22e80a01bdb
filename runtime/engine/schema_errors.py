"""What is wrong with a form that an answer is asked to have."""

from __future__ import annotations

from registry.errors import UserError


class InvalidSchema(UserError):
    """A JSON Schema is not valid."""

    code = "invalid-schema"


class FormatNotSupported(UserError):
    """An answer cannot be held to the form that was asked for."""

    code = "format-not-supported"
