"""What is wrong with a recipe, as data: codes, and problems with their place.

How problems look in a terminal or in CI lives in report.py, the error that carries them in errors.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from mlxbuild.registry.core.errors import Location


class Code(StrEnum):
    """Stable names of the mistakes a recipe can hold; never renamed, since people search for them."""

    FILE = "spec-file"
    """The recipe cannot be read, or is not a file."""
    TOO_LARGE = "spec-too-large"
    """The recipe, or a text it names, is larger than any honest one."""
    ENCODING = "spec-encoding"
    """Not UTF-8."""
    EMPTY = "spec-empty"
    """No content."""
    SYNTAX = "spec-syntax"
    """Not YAML."""
    DEPTH = "spec-depth"
    """Nested too deep."""
    ALIASES = "spec-aliases"
    """Aliases that unfold into too many values."""
    YAML_TAG = "spec-yaml-tag"
    """A YAML tag such as `!!python/object`."""
    DUPLICATE_KEY = "spec-duplicate-key"
    """The same key twice in one map."""
    UNKNOWN_KEY = "spec-unknown-key"
    """A key that ModelSpec does not have there."""
    MISSING_KEY = "spec-missing-key"
    """A key that ModelSpec needs there."""
    CHOICE = "spec-choice"
    """None, or more than one, of keys of which exactly one is needed."""
    TYPE = "spec-type"
    """A value of the wrong type."""
    UNQUOTED = "spec-unquoted"
    """A text that YAML reads as a number, a truth value or nothing."""
    VALUE = "spec-value"
    """A value outside its list or form."""
    RANGE = "spec-range"
    """A number outside its range."""
    QUANTIZATION = "spec-quantization"
    """Mode, bits, group size or data type that do not go together."""
    REFERENCE = "spec-reference"
    """Not the name of an artifact."""
    REGEX = "spec-regex"
    """Not a regular expression, or one that RE2 does not take."""
    JSON_SCHEMA = "spec-json-schema"
    """Not a JSON Schema."""
    PATH = "spec-path"
    """A path that is absolute or leads out of the recipe's folder or repository."""
    NOT_PORTABLE = "spec-not-portable"
    """A base that lies elsewhere, so that the recipe works only where that is; a warning."""
    MISSING_FILE = "spec-missing-file"
    """A file or folder that is not there."""
    VARIANTS = "spec-variants"
    """A matrix that does not work out."""
    CYCLE = "spec-cycle"
    """An artifact that is built from itself."""


@dataclass(frozen=True, slots=True)
class Snippet:
    """The line at fault; `column` counts from one, `width` in characters, `note` is said beside the mark."""

    line: str
    column: int
    width: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake, or something to mind: what, where, and what to do."""

    code: Code
    message: str
    location: Location
    hint: str | None = None
    snippet: Snippet | None = None
    level: Literal["error", "warning"] = "error"
