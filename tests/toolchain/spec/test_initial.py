"""First recipes: valid for any model, whatever its configs hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxbuild.toolchain.spec.document import parse
from mlxbuild.toolchain.spec.initial import SCHEMA_FILE, initial_recipe, slug
from mlxbuild.toolchain.spec.load import lint, load
from mlxbuild.toolchain.spec.resolved import FolderSource, HubSource
from mlxbuild.toolchain.spec.written.recipe import ModelSpec

QWEN = {"model_type": "qwen3", "max_position_embeddings": 40960}
HUB = HubSource("Qwen/Qwen3-0.6B", "main")


def test_from_a_folder(tmp_path: Path) -> None:
    (tmp_path / "Some Model_v2").mkdir()
    path = tmp_path / "ModelSpec.yaml"
    path.write_text(initial_recipe(FolderSource(tmp_path / "Some Model_v2", "./Some Model_v2"), QWEN))
    assert lint(path) == ()
    (spec,) = load(path).variants()
    assert spec.label == "some-model-v2:int4@1.0"
    assert spec.base == FolderSource(tmp_path / "Some Model_v2", "./Some Model_v2")


def test_from_the_hub_with_its_facts() -> None:
    text = initial_recipe(
        HUB,
        QWEN,
        tokenizer_config={},
        generation_config={"temperature": 0.6, "top_k": 20, "top_p": 7, "repetition_penalty": 1.05},
        license_expression="apache-2.0",
    )
    assert text.splitlines()[0] == f"# yaml-language-server: $schema={SCHEMA_FILE}"
    assert "named: chatml" in text
    data = parse(text.encode(), "ModelSpec.yaml").data
    assert data["base"] == {"hf_repo": "Qwen/Qwen3-0.6B", "revision": "main"}
    assert data["license"] == "apache-2.0"
    assert data["defaults"] == {"temperature": 0.6, "top_k": 20, "repeat_penalty": 1.05, "context": 40960}


@pytest.mark.parametrize("key", ["quantization", "quantization_config"])
def test_a_quantized_base_stays_as_it_is(key: str) -> None:
    data = parse(initial_recipe(HUB, QWEN | {key: {}}).encode(), "ModelSpec.yaml").data
    assert data["quantization"] == "keep"


ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.lists(st.integers())
CONFIG = st.dictionaries(
    st.sampled_from(["model_type", "max_position_embeddings", "text_config", "temperature", "top_k", "min_p"]),
    ANYTHING | st.dictionaries(st.just("max_position_embeddings"), ANYTHING),
)


@given(config=CONFIG, generation=CONFIG, license_expression=st.none() | st.text(max_size=12))
def test_untrusted_configs_give_sound_recipes(
    config: dict[str, Any], generation: dict[str, Any], license_expression: str | None
) -> None:
    text = initial_recipe(HUB, config, generation_config=generation, license_expression=license_expression)
    document = parse(text.encode(), "ModelSpec.yaml")
    assert document.problems == ()
    ModelSpec.model_validate(document.data)


@given(st.text(max_size=80))
def test_slugs_are_names(text: str) -> None:
    ModelSpec.model_validate({"name": slug(text), "version": "1.0", "base": {"hf_repo": "a/b"}})


@pytest.mark.parametrize(
    ("text", "name"),
    [("Qwen/Qwen3-0.6B", "qwen3-0.6b"), ("My Model..v2_", "my-model.v2"), ("模型", "my-model"), ("a/b/", "b")],
)
def test_slugs(text: str, name: str) -> None:
    assert slug(text) == name
