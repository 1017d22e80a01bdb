"""Whether the numbers of a `config.json` can belong to its tensors; asked before anything is made of them.

mlx-lm makes an object for every layer that a configuration speaks of, without end for a billion of them. Weights tell
how many there can be: no layer is without a tensor, and no size is above what a dimension can hold.
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
"""In names of what there are several of, each made or computed by itself; `hidden_size_per_layer_input` is a size."""
_OTHER_SIZES = re.compile(
    r"(^|_)(rank|heads?|vocab|hidden|embd|inner|width|channels|kernel|conv|state|ssm|expand|d_model)(_|$)"
)
_LEAST_COUNT = 128
"""So many are soon made, even if there are fewer."""
_LEAST_SIZE = 1024 * 1024
"""Some sizes are no dimension, such as those of windows."""
_NUMBERS_OF_A_WORD = 32
"""How many numbers of one bit are packed in one of a tensor's."""

MOST_TOKENS = 4 * 1024 * 1024
"""Of a vocabulary; the largest that are known have a quarter of a million."""


class ImplausibleConfiguration(UserError):
    """A number of `config.json` is larger than its weights can mean."""

    code = "implausible-configuration"


def require_plausible(config: Mapping[str, Any], shapes: Iterable[Sequence[int]], where: str = "config.json") -> None:
    """Compare the numbers of a configuration, nested ones too, with the shapes of all its tensors.

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
    """`require_plausible` of a model folder; only headers of its weights are read.

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
    """Integers with their names, as `text_config.num_hidden_layers`; those of a list have that of the list."""
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
