"""Regular expressions that recipes bring along, matched by RE2: in time linear to the text, whatever they are.

Python's own `re` tries one way after the other, for `(a+)+$` without end. Recipes travel with artifacts, so their
expressions may be anybody's. The syntax is RE2's (https://github.com/google/re2/wiki/Syntax).
"""

from __future__ import annotations

import functools
import re
from typing import Any

_BEYOND = (
    (re.compile(r"\(\?<?[=!]"), "it looks ahead or behind (`{}`)"),
    (re.compile(r"\\[1-9]|\(\?P="), "it refers back to what a group has matched (`{}`)"),
    (re.compile(r"[*+?}]\+|\(\?>"), "it never gives back what it has matched (`{}`)"),
)
"""What RE2 cannot do, where it has refused an expression: it names the place, not the idea."""


class PatternRefused(ValueError):
    """It is no regular expression, or one that takes more than linear time; the message says which and why."""


def found(pattern: str, text: str) -> bool:
    """Whether an expression matches anywhere in a text.

    Raises:
        PatternRefused: see `check`.
    """
    return _compiled(pattern).search(_encodable(text)) is not None


def check(pattern: str) -> None:
    """Whether an expression can be used.

    Raises:
        PatternRefused: it cannot.
    """
    _compiled(pattern)


@functools.lru_cache(256)
def _compiled(pattern: str) -> Any:
    import re2

    options = re2.Options()
    options.log_errors = False  # on stderr
    try:
        return re2.compile(_encodable(pattern), options)
    except re2.error as error:
        raise PatternRefused(_told(pattern, error)) from None


def _told(pattern: str, error: Exception) -> str:
    for sign, meaning in _BEYOND:
        if place := sign.search(pattern):
            return f"{meaning.format(place[0])}, which cannot be matched in linear time"
    reason = error.args[0]
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)


def _encodable(text: str) -> str:
    """With `?` for halves of surrogate pairs, which are in no UTF-8."""
    return text.encode(errors="replace").decode()
