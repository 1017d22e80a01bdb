"""A whole artifact of an attacker, whose digests hold: verified and opened for an answer, or refused by the tree."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings

from mlxbuild.registry.artifact.folder import model_folder
from mlxbuild.registry.artifact.verification import verify
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.loaded_model import LoadedModel
from mlxbuild.runtime.protocol.requests import ChatRequest
from mlxbuild.toolchain.steps.model_facts import named_special_tokens
from tests.mutations import FEW, mutated
from tests.runtime.asking import USER, put_artifact
from tests.runtime.tiny_folders import write_model

DEFAULTS = {"system_prompt": "Be brief.", "parameters": {"temperature": 0.5, "stops": ["x"], "context": 64}}

FEWER = settings(FEW, max_examples=max(1, FEW.max_examples // 6))
"""Each is written to the store, and read from there."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("mutated") / "model", defaults=DEFAULTS)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "tokenizer_config.json", "mlxbuild/facts.json", "mlxbuild/defaults.json"]
)
def test_a_mutated_model_is_opened_or_refused(name: str, folder: Path, store: Store, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(folder, own)

    @given(data=mutated(json.loads((folder / name).read_bytes())))
    @FEWER
    def each(data: bytes) -> None:
        (own / name).write_bytes(data)
        digest = put_artifact(store, own)
        with suppress(MlxbuildError):
            verify(store, digest, jobs=1)
            model = LoadedModel(model_folder(store, digest))
            prepared = model.prepare(ChatRequest(messages=[USER]))
            assert all(0 <= token < model.facts.vocabulary_size for token in prepared.tokens)
            assert model.weights.config

    each()


TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "eos_token": {"content": "<|im_end|>", "lstrip": False},
    "bos_token": "<s>",
    "add_bos_token": True,
    "chat_template": [{"name": "default", "template": "x"}],
    "added_tokens_decoder": {"1": {"content": "<|im_end|>", "special": True}},
}


@given(data=mutated(TOKENIZER_CONFIG))
@FEW
def test_special_tokens_of_a_mutated_tokenizer_config(data: bytes) -> None:
    with suppress(ValueError):
        document = json.loads(data)
        if isinstance(document, dict):
            assert all(isinstance(token, str) for token in named_special_tokens(document, document).values())
