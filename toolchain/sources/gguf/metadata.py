"""Typed access to a GGUF header's metadata, with errors that name the key."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import numpy as np

from mlxbuild.registry.core.errors import UserError

LARGEST: Final = 2**31 - 1
"""An upper bound for any size in a model."""

_HINT = "get the file again, or convert it again with a current llama.cpp"


class GgufMetadata(UserError):
    """A GGUF file's metadata lacks a key, or has an invalid value."""

    code = "gguf-metadata"


@dataclass(frozen=True, slots=True)
class Metadata:
    """The metadata of one file. Without a `default`, the key is required.

    Every access raises `GgufMetadata` if the key is missing or its value has another type.
    """

    values: Mapping[str, Any]
    where: str | None = None
    """Name of the file, for errors."""

    @property
    def architecture(self) -> str:
        """The value of `general.architecture`."""
        return self.text("general.architecture")

    def own(self, name: str) -> str:
        """The full key of an architecture's own value, such as `llama.block_count`."""
        return f"{self.architecture}.{name}"

    def has(self, key: str) -> bool:
        """Whether the key exists."""
        return key in self.values

    def text(self, key: str, default: str | None = None) -> str:
        """A string."""
        value = self._value(key, default)
        if not isinstance(value, str):
            self.fail(f"`{key}` is {_shown(value)}, where a text is expected")
        return value

    def flag(self, key: str, default: bool | None = None) -> bool:
        """A boolean."""
        value = self._value(key, default)
        if not isinstance(value, bool):
            self.fail(f"`{key}` is {_shown(value)}, where true or false is expected")
        return value

    def count(self, key: str, default: int | None = None, *, least: int = 1) -> int:
        """An integer from `least` to `LARGEST`. A list with one per layer is accepted if all are equal."""
        value = self._value(key, default)
        if isinstance(value, tuple) and value and all(type(item) is int and item == value[0] for item in value):
            value = value[0]
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= LARGEST:
            self.fail(f"`{key}` is {_shown(value)}, where a whole number of {least} or more is expected")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number. A float32 is returned as the shortest decimal with that value: 1e-05, not 9.99999974e-06."""
        value = self._value(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST_SINGLE:
            self.fail(f"`{key}` is {_shown(value)}, where a finite number is expected")
        single = np.float32(value)
        return float(str(single)) if float(single) == value else float(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        values = self._list(key)
        if not all(isinstance(value, str) for value in values):
            self.fail(f"`{key}` contains something other than texts")
        return values

    def integers(self, key: str) -> tuple[int, ...]:
        """A list of integers."""
        values = self._list(key)
        if not all(type(value) is int for value in values):
            self.fail(f"`{key}` contains something other than whole numbers")
        return values

    def numbers(self, key: str) -> tuple[float, ...]:
        """A list of finite numbers."""
        values = self._list(key)
        if not all(type(value) in (int, float) and math.isfinite(value) for value in values):
            self.fail(f"`{key}` contains something other than finite numbers")
        return values

    def fail(self, message: str, hint: str = _HINT) -> NoReturn:
        """Raise an error about the metadata."""
        raise GgufMetadata(f"the GGUF file's metadata is invalid: {message}", where=self.where, hint=hint)

    def _value(self, key: str, default: Any) -> Any:
        if key in self.values:
            return self.values[key]
        if default is None:
            raise GgufMetadata(f"the GGUF file's metadata has no `{key}`", where=self.where, hint=_HINT)
        return default

    def _list(self, key: str) -> tuple[Any, ...]:
        values = self._value(key, None)
        if not isinstance(values, tuple):
            self.fail(f"`{key}` is {_shown(values)}, where a list is expected")
        return values


_LARGEST_SINGLE: Final = float(np.finfo(np.float32).max)


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return f"a list of {len(value)}"
    if isinstance(value, str):
        text = value if len(value) <= 60 else value[:57] + "..."
        return "the text `" + text.encode("unicode_escape").decode("ascii") + "`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
