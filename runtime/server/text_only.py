"""Refuses parts of messages that are no text, in one wording for every API."""

from __future__ import annotations

from mlxbuild.runtime.server.failures import NotSupported


def not_taken(what: str, where: str) -> NotSupported:
    """The error of a part of a message that is no text; `where` is the part."""
    return NotSupported(f"this server does not take {what}", where=where, hint="send text only")
