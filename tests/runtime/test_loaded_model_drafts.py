"""A model with a draft, and what both may take."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.loaded_model import LoadedModel
from mlxbuild.runtime.model.drafting import DraftUnusable
from mlxbuild.runtime.model.facts import EmbeddingFacts, ModelFacts
from mlxbuild.runtime.model.files import FACTS_FILE
from tests.runtime.asking import text
from tests.runtime.tiny_folders import write_model


def test_a_draft_of_the_same_tokens_changes_no_answer(tiny: LoadedModel, tmp_path: Path) -> None:
    expected = text(tiny.generate("hello", max_tokens=20))
    drafted = LoadedModel(tiny.folder, draft=LoadedModel(write_model(tmp_path / "draft", "llama")))
    assert text(drafted.generate("hello", max_tokens=20)) == expected


def test_what_a_model_may_take_bounds_its_form_and_its_caches(tiny_folder: Path) -> None:
    size_bytes = LoadedModel(tiny_folder).weights.holding.size_bytes
    with closing(LoadedModel(tiny_folder, memory_bytes=size_bytes + 100_000_000)) as roomy:
        assert text(roomy.generate("hello", max_tokens=3))
    with closing(LoadedModel(tiny_folder, memory_bytes=size_bytes)) as narrow, pytest.raises(MlxbuildError):
        list(narrow.generate("hello", max_tokens=3))


def test_what_a_model_may_take_is_for_its_draft_too(tiny_folder: Path, tmp_path: Path) -> None:
    size_bytes = LoadedModel(tiny_folder).weights.holding.size_bytes
    with closing(LoadedModel(tiny_folder, memory_bytes=2 * size_bytes, draft=LoadedModel(tiny_folder))) as narrow:
        with pytest.raises(MlxbuildError):  # nothing is left for caches
            list(narrow.generate("hello", max_tokens=3))
    with closing(LoadedModel(tiny_folder, memory_bytes=10**8, draft=LoadedModel(tiny_folder))) as roomy:
        assert text(roomy.generate("hello", max_tokens=3))


def test_a_model_that_embeds_drafts_for_none(tiny: LoadedModel, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "embedder")
    facts = replace(ModelFacts.from_json((folder / FACTS_FILE).read_bytes()), embedding=EmbeddingFacts("last"))
    (folder / FACTS_FILE).write_bytes(facts.to_json())
    with pytest.raises(DraftUnusable, match="only turns texts into vectors"):
        LoadedModel(tiny.folder, draft=LoadedModel(folder))


def test_the_small_form_of_a_model_drafts_for_the_large_one(
    hello_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlxbuild

    monkeypatch.setenv("MLXBUILD_HOME", str(hello_store.home.root))
    question = [{"role": "user", "content": "What is mlxbuild?"}]
    chosen: dict[str, Any] = {"think": False, "max_tokens": 60, "temperature": 0.7, "seed": 5}
    plain, drafted = mlxbuild.load("hello:none@1.0"), mlxbuild.load("hello:none@1.0", draft="hello:int4@1.0")
    assert text(drafted.chat(question, **chosen)) == text(plain.chat(question, **chosen))
    steps = [model.engine.run(model.engine.statistics).result().iterations for model in (drafted, plain)]
    assert steps[0] < 0.7 * steps[1]
