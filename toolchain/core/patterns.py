"""Regular expressions from recipes, matched by RE2 in time linear in the text.

Python's own `re` backtracks, and for `(a+)+$` practically never ends. Recipes travel with artifacts, so anybody may
have written their expressions. The syntax is RE2's (https://github.com/google/re2/wiki/Syntax).
"""

from __future__ import annotations

import functools
import re
from typing import Any

_BEYOND = (
    (re.compile(r"\(\?<?[=!]"), "it uses lookahead or lookbehind (`{}`)"),
    (re.compile(r"\\[1-9]|\(\?P="), "it uses a backreference (`{}`)"),
    (re.compile(r"[*+?}]\+|\(\?>"), "it uses a possessive quantifier or an atomic group (`{}`)"),
)
"""Constructs that RE2 does not support, each with an explanation: RE2's own message only names the place."""


class PatternRefused(ValueError):
    """A text is not a regular expression, or not one that RE2 can match; the message says which and why."""


def found(pattern: str, text: str) -> bool:
    """Whether an expression matches anywhere in a text.

    Raises:
        PatternRefused: see `check`.
    """
    return _compiled(pattern).search(_encodable(text)) is not None


def check(pattern: str) -> None:
    """Check that an expression can be used.

    Raises:
        PatternRefused: it cannot.
    """
    _compiled(pattern)


@functools.lru_cache(256)
def _compiled(pattern: str) -> Any:
    import re2

    options = re2.Options()
    options.log_errors = False  # it would log to stderr
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
    """The text with `?` for lone surrogates, which UTF-8 cannot encode."""
    return text.encode(errors="replace").decode()
