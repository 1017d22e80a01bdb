"""Facts survive their file, and a file that is none is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxbuild.registry.core.digest import Digest
from mlxbuild.runtime.model.facts import BrokenFacts, ModelFacts

TEXT = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
FACTS = st.builds(
    ModelFacts,
    model_type=st.just("qwen3"),
    architecture=TEXT,
    vocabulary_size=st.integers(1, 10**6),
    context_length=st.none() | st.integers(1, 10**7),
    stop_token_ids=st.lists(st.integers(0, 10**6)).map(tuple),
    stop_texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1)).map(tuple),
    think_start=TEXT,
    thinking_switch=TEXT,
    appends_only=st.none() | st.booleans(),
    chat_template=st.none() | st.binary().map(Digest.of_bytes),
    special_tokens=st.dictionaries(st.sampled_from(["bos_token", "eos_token"]), st.just("<s>")),
    kv_bytes_per_token=st.none() | st.integers(1, 10**9),
)


@given(FACTS)
def test_written_and_read_is_the_same(facts: ModelFacts) -> None:
    assert ModelFacts.from_json(facts.to_json()) == facts


def test_what_a_later_version_added_is_left_out() -> None:
    facts = ModelFacts("llama", None, 10, None, (1,))
    document = json.loads(facts.to_json()) | {"sees_colours": True}
    assert ModelFacts.from_json(json.dumps(document).encode()) == facts


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"schema": 99}',
        b'{"schema": 1}',
        json.dumps(json.loads(ModelFacts("a", None, 1, None, ()).to_json()) | {"chat_template": "md5:1"}).encode(),
        json.dumps(json.loads(ModelFacts("a", None, 1, None, ()).to_json()) | {"stop_token_ids": 3}).encode(),
    ],
)
def test_what_is_no_facts_is_refused(data: bytes) -> None:
    with pytest.raises(BrokenFacts) as caught:
        ModelFacts.from_json(data)
    assert caught.value.where == "mlxbuild/facts.json"
