"""Problems in recipes as data: codes, messages and locations.

report.py formats problems for terminals and CI; errors.py has the error that carries them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from mlxbuild.registry.core.errors import Location


class Code(StrEnum):
    """Stable codes of the mistakes in recipes; never renamed, because people search for them."""

    FILE = "spec-file"
    """The recipe cannot be read, or is not a file."""
    TOO_LARGE = "spec-too-large"
    """The recipe, or a text it names, exceeds the size limit."""
    ENCODING = "spec-encoding"
    """The file is not UTF-8."""
    EMPTY = "spec-empty"
    """The file is empty."""
    SYNTAX = "spec-syntax"
    """The file is not valid YAML."""
    DEPTH = "spec-depth"
    """The data is nested too deeply."""
    ALIASES = "spec-aliases"
    """Aliases expand to too many values."""
    YAML_TAG = "spec-yaml-tag"
    """The file uses a YAML tag such as `!!python/object`."""
    DUPLICATE_KEY = "spec-duplicate-key"
    """A map has the same key twice."""
    UNKNOWN_KEY = "spec-unknown-key"
    """A key is not known to ModelSpec in that place."""
    MISSING_KEY = "spec-missing-key"
    """A required key is missing."""
    CHOICE = "spec-choice"
    """None, or more than one, of several keys is set of which exactly one is needed."""
    TYPE = "spec-type"
    """A value has the wrong type."""
    UNQUOTED = "spec-unquoted"
    """An unquoted text was read as a number, a boolean or null."""
    VALUE = "spec-value"
    """A value is not an allowed word, or has the wrong format."""
    RANGE = "spec-range"
    """A number is out of range."""
    QUANTIZATION = "spec-quantization"
    """Quantization mode, bits, group size or data type do not go together."""
    IDLE_OVERRIDE = "idle-override"
    """A recipe sets the quantization of modules that the model does not have."""
    REFERENCE = "spec-reference"
    """A text is not the name of an artifact."""
    REGEX = "spec-regex"
    """A text is not a regular expression, or is not supported by RE2."""
    JSON_SCHEMA = "spec-json-schema"
    """A value is not a valid JSON Schema."""
    PATH = "spec-path"
    """A path is absolute, or leads out of the recipe's folder or repository."""
    NOT_PORTABLE = "spec-not-portable"
    """The base is outside the recipe's folder or repository, so the recipe works on some machines only; a warning."""
    MISSING_FILE = "spec-missing-file"
    """A file or folder does not exist."""
    VARIANTS = "spec-variants"
    """The matrix of variants is invalid."""
    CYCLE = "spec-cycle"
    """An artifact is built from itself."""


@dataclass(frozen=True, slots=True)
class Snippet:
    """The line of a problem; `column` counts from one, `width` in characters, `note` is shown beside the marker."""

    line: str
    column: int
    width: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake or warning: what, where, and a hint."""

    code: Code
    message: str
    location: Location
    hint: str | None = None
    snippet: Snippet | None = None
    level: Literal["error", "warning"] = "error"
