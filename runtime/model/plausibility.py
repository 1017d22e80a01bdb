"""Checks the numbers of a `config.json` against its tensors before any object is created from them.

mlx-lm creates an object for each layer of a configuration, and would never finish with a billion of them. The weights
bound their number: each layer has a tensor, and no size exceeds the dimensions of the tensors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlxbuild.registry.core.errors import UserError

_SIZES = re.compile(r"(^|_)(sizes?|dims?)(_|$)")
_COUNTS = re.compile(r"(^|_)(layers?|blocks|experts?|loops|iters|depths?|stages|embedders|inputs|groups?)(_|$)")
"""Names of counts, of objects that are created or computed; `hidden_size_per_layer_input` is a size."""
_OTHER_SIZES = re.compile(
    r"(^|_)(rank|heads?|vocab|hidden|embd|inner|width|channels|kernel|conv|state|ssm|expand|d_model)(_|$)"
)
_LEAST_COUNT = 128
"""Counts up to this one are accepted, even with fewer tensors."""
_LEAST_SIZE = 1024 * 1024
"""Sizes up to this one are accepted, as some are no dimensions, such as those of windows."""
_NUMBERS_OF_A_WORD = 32
"""How many one-bit weights are packed in one number of a tensor."""

MOST_TOKENS = 4 * 1024 * 1024
"""Bound for a vocabulary; the largest known ones have a quarter of a million tokens."""


class ImplausibleConfiguration(UserError):
    """A number in `config.json` is too large for the weights."""

    code = "implausible-configuration"


def require_plausible(config: Mapping[str, Any], shapes: Iterable[Sequence[int]], where: str = "config.json") -> None:
    """Compare the numbers of a configuration, including nested ones, with the shapes of all tensors.

    Raises:
        ImplausibleConfiguration: there are more layers than tensors, or a dimension that no tensor has.
    """
    count, largest = 0, 1
    for shape in shapes:
        count, largest = count + 1, max(largest, *shape, 1)
    most_single = max(count, _LEAST_COUNT)
    most_stacked = max(most_single, largest)
    most_wide = max(_LEAST_SIZE, largest * _NUMBERS_OF_A_WORD)
    for name, number in _numbers(config, ""):
        last = name.rpartition(".")[2]
        if _COUNTS.search(last) and not _SIZES.search(last):
            most = most_stacked if "expert" in last else most_single
            reason = f"there are {count:,} tensors"
        elif _SIZES.search(last) or _OTHER_SIZES.search(last):
            most, reason = most_wide, f"the largest dimension of its tensors is {largest:,}"
        else:
            continue
        if abs(number) > most:
            raise ImplausibleConfiguration(
                f"`{name}` is {_written(number)} in config.json, and {reason}",
                where=where,
                hint="does config.json belong to these weights, and are all of their files there?",
            )


def require_plausible_folder(folder: Path) -> None:
    """Run `require_plausible` on a model folder; only the headers of its weights are read.

    Raises:
        ImplausibleConfiguration: as above.
        OSError, ValueError, RuntimeError: a file cannot be read.
    """
    import mlx.core as mx

    config = json.loads((folder / "config.json").read_bytes())
    tables: Iterator[Any] = (mx.load(str(file)) for file in sorted(folder.glob("model*.safetensors")))
    shapes = [array.shape for table in tables for array in table.values()]
    if isinstance(config, dict):
        require_plausible(config, shapes, str(folder / "config.json"))


def _numbers(value: Any, path: str) -> Iterator[tuple[str, int]]:
    """Integers with their path, such as `text_config.num_hidden_layers`; items of a list have the path of the list."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _numbers(item, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _numbers(item, path)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield path, value


def _written(number: int) -> str:
    return f"{number:,}" if abs(number) < 10**18 else f"about 2^{number.bit_length()}"
