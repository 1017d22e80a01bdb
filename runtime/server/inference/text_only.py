"""Refuses parts of messages that are not text, with the same message in all APIs."""

from __future__ import annotations

from mlxbuild.runtime.server.failures import NotSupported


def not_taken(what: str, where: str) -> NotSupported:
    """The error of a message part that is not text; `where` is its field in the request."""
    return NotSupported(f"this server does not take {what}", where=where, hint="send text only")
