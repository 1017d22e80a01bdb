"""Gaps are filled by the control tokens that a model has for it, or the request is refused."""

from __future__ import annotations

import json

import pytest

from mlxbuild.runtime.engine.input.preparation import NoInfill
from mlxbuild.runtime.loaded_model import LoadedModel
from mlxbuild.runtime.model.infill import _KNOWN, Infill, fills_gaps
from mlxbuild.runtime.model.tokenizer import Tokenizer
from mlxbuild.runtime.protocol.requests import CompletionRequest
from tests.runtime.tiny_folders import byte_tokenizer


@pytest.mark.parametrize(
    "names",
    [
        ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
        ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
        ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    ],
)
def test_the_texts_stand_around_the_gap(names: tuple[str, str, str]) -> None:
    backend = byte_tokenizer()
    backend.add_special_tokens(list(names))
    tokenizer = Tokenizer(backend)
    infill = Infill.of(tokenizer)
    assert infill is not None
    tokens = infill.tokens(tokenizer, "def f(", "return x")
    assert tokenizer.decode(tokens) == f"{names[0]}def f({names[1]}return x{names[2]}"


@pytest.mark.parametrize("names", _KNOWN)
def test_they_are_found_in_the_file_of_a_tokenizer(names: tuple[str, str, str]) -> None:
    backend = byte_tokenizer()
    assert not fills_gaps(backend.to_str().encode())
    backend.add_special_tokens(list(names[:2]))
    assert not fills_gaps(backend.to_str().encode())
    backend.add_special_tokens(list(names))
    written = backend.to_str()
    assert fills_gaps(written.encode())
    assert fills_gaps(json.dumps(json.loads(written)).encode())


def test_a_model_without_such_tokens_refuses(tiny: LoadedModel) -> None:
    assert "insert" not in tiny.capabilities
    with pytest.raises(NoInfill):
        tiny.prepare(CompletionRequest("def f(", suffix="return x"))
