"""What an artifact says of its model may come from anybody: it is refused by an error of the tree, or sound."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given

from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.runtime.engine.core.options import InvalidOption
from mlxbuild.runtime.engine.input.defaults import BrokenDefaults, Defaults
from mlxbuild.runtime.loaded_model import LoadedModel
from mlxbuild.runtime.model.facts import BrokenFacts, EmbeddingFacts, ModelFacts
from tests.mutations import FEW, mutated
from tests.runtime.tiny_folders import write_model

FACTS = ModelFacts(
    "llama", "LlamaForCausalLM", 300, 512, (1, 2), ("x",), embedding=EmbeddingFacts("mean", prompts={"query": "q"})
)
DEFAULTS = {
    "system_prompt": "Be brief.",
    "messages": [{"role": "user", "content": "Hi"}],
    "parameters": {"temperature": 0.5, "stops": ["x"], "context": 512, "logit_bias": {"1": 2.0}, "seed": 1},
}


@given(data=mutated(json.loads(FACTS.to_json())))
@FEW
def test_mutated_facts(data: bytes) -> None:
    with suppress(MlxbuildError):
        facts = ModelFacts.from_json(data)
        assert isinstance(facts.vocabulary_size, int)
        assert all(isinstance(token, int) for token in facts.stop_token_ids)
        ModelFacts.from_json(facts.to_json())


@given(data=mutated(DEFAULTS))
@FEW
def test_mutated_defaults(data: bytes) -> None:
    with suppress(MlxbuildError):
        Defaults.from_json(data)


@pytest.mark.parametrize("count", [2**32, 10**30, -1, "many", None])
def test_facts_with_an_implausible_number_of_tokens(count: object) -> None:
    with pytest.raises(BrokenFacts) as caught:
        ModelFacts.from_json(json.dumps({**json.loads(FACTS.to_json()), "vocabulary_size": count}).encode())
    assert caught.value.hint is not None


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"messages": 1}', b'{"parameters": []}', b"\xff", b"[" * 100_000])
def test_what_are_no_defaults(data: bytes) -> None:
    with pytest.raises(BrokenDefaults) as caught:
        Defaults.from_json(data)
    assert caught.value.hint is not None


def test_default_stops_that_are_no_texts() -> None:
    with pytest.raises(InvalidOption, match="stops cannot be"):
        Defaults.from_json(b'{"parameters": {"stops": [[null], "x"]}}')


def test_facts_that_speak_of_more_tokens_than_there_are_rows(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    file = folder / "mlxbuild" / "facts.json"
    facts = json.loads(file.read_bytes())
    file.write_text(json.dumps({**facts, "vocabulary_size": facts["vocabulary_size"] + 1}))
    with pytest.raises(BrokenFacts, match=r"config\.json"):
        LoadedModel(folder)
    file.write_text(json.dumps(facts))
    LoadedModel(folder)
