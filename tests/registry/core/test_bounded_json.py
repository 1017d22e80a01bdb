"""That JSON of others takes no more memory than it should."""

from __future__ import annotations

import tracemalloc

import pytest

from mlxbuild.registry.core.bounded_json import MOST_VALUES, decode


def test_values_are_decoded() -> None:
    assert decode(b'{"layers": [{}, [1, "{"]]}') == {"layers": [{}, [1, "{"]]}
    assert len(decode(b"[" + b"{}," * (MOST_VALUES - 2) + b"{}]")) == MOST_VALUES - 1


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"[" + b"{}," * 1_000_000 + b"{}]", "more than 100000 objects"),
        (b"[" * 1_000_000, "more than 100000 objects"),
        (b"[" * 50_000, "nested too deeply"),
        (b"[" * 50_000 + b"]" * 50_000, "nested too deeply"),
        (b"\xff\xfe{", "decode"),
        (b"", "Expecting value"),
        (b"9" * 5000, "digits"),
    ],
    ids=["many", "many-lists", "deep", "deep-and-closed", "no-text", "empty", "long-number"],
)
def test_what_would_take_much_is_refused_before_it_does(data: bytes, reason: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=reason):
            decode(data)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
