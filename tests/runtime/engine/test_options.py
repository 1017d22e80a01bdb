"""Only given options change, and invalid ones are reported."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxbuild.runtime.engine.core.options import InvalidOption, Options


@given(
    options=st.fixed_dictionaries(
        {},
        optional={
            "temperature": st.floats(0, 10),
            "top_p": st.floats(0.01, 1),
            "top_k": st.integers(0, 10**6),
            "repeat_last_n": st.integers(-1, 100),
            "stops": st.lists(st.text(min_size=1), max_size=2),
            "presence_penalty": st.floats(-2, 2),
            "logit_bias": st.dictionaries(st.integers(0, 9), st.floats(-100, 100), max_size=3),
            "top_logprobs": st.integers(0, 20),
        },
    )
)
def test_options_change_only_what_is_given(options: dict[str, Any]) -> None:
    changed = Options(seed=4).changed({**options, "max_tokens": None})
    assert changed.seed == 4
    assert changed.max_tokens is None
    for name, value in options.items():
        assert getattr(changed, name) == (tuple(value) if name == "stops" else value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temprature": 1}, "no option `temprature`"),
        ({"temperature": -1}, "temperature cannot be -1"),
        ({"top_p": 0}, "top_p cannot be 0"),
        ({"top_k": "many"}, "wrong type"),
        ({"max_tokens": 0}, "max_tokens cannot be 0"),
        ({"stops": [""]}, "stops cannot be"),
        ({"repeat_penalty": float("nan")}, "repeat_penalty cannot be NaN"),
        ({"frequency_penalty": 3}, "frequency_penalty cannot be 3"),
        ({"logit_bias": {"x": 1}}, "wrong type"),
        ({"logit_bias": {3: 101}}, "logit_bias cannot be"),
        ({"top_logprobs": 21}, "top_logprobs cannot be 21"),
        ({"kv_bits": 7}, "kv_bits cannot be 7"),
    ],
)
def test_wrong_options_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidOption, match=message) as caught:
        Options().changed(options)
    assert caught.value.hint or "type" in message
