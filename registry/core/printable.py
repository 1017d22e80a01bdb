"""Escapes untrusted text so that it cannot control the terminal that it is printed on."""

from __future__ import annotations


def printable(text: str, kept: str = "\n\t") -> str:
    """The text with control characters, invisible marks and lone surrogates as escapes (`\\x1b`), except for `kept`."""
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable() or character in kept
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )
