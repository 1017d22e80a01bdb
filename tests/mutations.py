"""JSON documents with a few things wrong in them, for tests of what reads those of others.

`MLXBUILD_MUTATIONS` says how many are tried; `make mutations` tries many.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

FEW = settings(
    max_examples=int(os.environ.get("MLXBUILD_MUTATIONS", "60")),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

_ODD: list[Any] = [
    *(None, True, 0, -1, 1.5, 2**32 - 1, 2**63, 10**30, float("nan")),
    *("", "a", "\ud800", "\0", "../x", "sha256:" + "0" * 64, "é" * 300),
    *([], {}, [None], [[]], {"": None}, {"type": "Regex"}, {"Regex": "("}),
]


@st.composite
def mutated(draw: st.DrawFn, document: Any) -> bytes:
    """A document in which values of any depth are replaced or lost, lists are doubled, or bytes are changed."""
    changed = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(changed))
        if not places:
            break
        container, key = draw(st.sampled_from(places))
        way = draw(st.sampled_from(("replace", "replace", "lose", "repeat", "move")))
        if way == "replace":
            container[key] = copy.deepcopy(draw(st.sampled_from(_ODD)))
        elif way == "lose":
            del container[key]
        elif way == "repeat" and isinstance(container, list):
            container.append(copy.deepcopy(container[key]))
        else:
            other, place = draw(st.sampled_from(places))
            container[key] = copy.deepcopy(other[place])
    data = json.dumps(changed).encode()
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=4)) + data[at + draw(st.integers(0, 4)) :]
    return data


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every value in a document, as the list or object that holds it, and its place there; of long ones the ends."""
    if isinstance(value, dict):
        keys: list[Any] = list(value)
    elif isinstance(value, list):
        keys = list(range(len(value)))
    else:
        return
    for key in keys if len(keys) <= 40 else (*keys[:20], *keys[-20:]):
        yield value, key
        yield from _places(value[key])
