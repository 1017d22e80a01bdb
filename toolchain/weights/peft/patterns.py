"""PEFT's `rank_pattern` and `alpha_pattern`: values by regular expressions for module paths, matched in bounded time.

The first pattern that matches a path, or its end after a dot, wins (`peft.utils.other.get_pattern_key`). Adapters are
untrusted and Python's `re` has no time limit, so only expressions that cannot backtrack for long are accepted. Names
without regular expression syntax, which are nearly all, are compared as text; their dots are literal.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_NAME: Final = re.compile(r"[\w.-]+", re.ASCII)
_BOUNDED: Final = re.compile(r"\^?(?:[\w-]|\\?\.|\\d|\[[\w-]+\]|\.\*|\((?:\?:)?[\w.|-]+\))+\$?", re.ASCII)
_LENGTH: Final = 256
_MOST_CHOICES: Final = 16
_MOST_EXPRESSIONS: Final = 32


def is_bounded(pattern: str) -> bool:
    """Whether a pattern is a name, or an expression with at most one `.*` and few alternatives, none of it repeated."""
    choices = math.prod(group.count("|") + 1 for group in re.findall(r"\([^)]*\)", pattern))
    return (
        len(pattern) <= _LENGTH
        and pattern.count(".*") <= 1
        and choices <= _MOST_CHOICES
        and _BOUNDED.fullmatch(pattern) is not None
    )


@dataclass(frozen=True, slots=True)
class ModulePatterns:
    """Values by pattern, in the order of the configuration."""

    values: Mapping[str, float]
    expressions: Mapping[str, re.Pattern[str]]
    """The patterns that are regular expressions."""

    @classmethod
    def of(cls, values: Mapping[str, float]) -> ModulePatterns:
        """Compile patterns for which `is_bounded` is true.

        Raises:
            ValueError: there are too many expressions among them, or one is invalid.
        """
        expressions = [pattern for pattern in values if not _NAME.fullmatch(pattern)]
        if len(expressions) > _MOST_EXPRESSIONS:
            raise ValueError("more than 32 regular expressions")
        try:
            return cls(values, {each: re.compile(rf"(.*\.)?({each})$") for each in expressions})
        except re.error as error:
            raise ValueError(f"a broken regular expression ({error})") from None

    def value_of(self, module: str, default: float) -> float:
        """The value for a module, by its path in the base model."""
        for pattern, value in self.values.items():
            expression = self.expressions.get(pattern)
            if expression is None:
                if module == pattern or module.endswith(f".{pattern}"):
                    return value
            elif expression.match(module):
                return value
        return default
