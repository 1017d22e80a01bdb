"""The error for a word that is none of an option's choices."""

from __future__ import annotations

from mlxbuild.registry.core.errors import UserError


class UnknownChoice(UserError):
    """An option has a few choices, and the word given is none of them."""

    code = "unknown-choice"
