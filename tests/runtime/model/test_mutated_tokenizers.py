"""Tokenizers that are damaged or hostile are refused by an error of the tree, or work."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.runtime.model.plausibility import MOST_TOKENS
from mlxbuild.runtime.model.tokenizer import Tokenizer, TokenizerUnreadable
from tests.mutations import FEW, mutated
from tests.runtime.tiny_folders import byte_tokenizer

BYTE_LEVEL = json.loads(byte_tokenizer().to_str())
OTHERS: dict[str, Any] = {
    "WordPiece": {
        **{"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##"},
        **{"max_input_chars_per_word": 100, "vocab": {"[UNK]": 0, "a": 1, "##b": 2}},
    },
    "WordLevel": {"type": "WordLevel", "unk_token": "[UNK]", "vocab": {"[UNK]": 0, "a": 1}},
    "Unigram": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["a", -1.0]], "byte_fallback": False},
}


def use(file: Path) -> None:
    tokenizer = Tokenizer.read(file)
    ids = tokenizer.encode("Hello <|im_end|> wörld 漢\n", add_special_tokens=True)
    tokenizer.decode(ids)
    detokenizer = tokenizer.detokenizer()
    for token in ids:
        tokenizer.piece(token)
        detokenizer.add(token)
    detokenizer.finish()
    tokenizer.control_tokens()
    assert max(tokenizer.vocabulary().values(), default=0) < MOST_TOKENS


@given(data=mutated(BYTE_LEVEL))
@FEW
def test_a_mutated_byte_level_tokenizer(data: bytes, tmp_path: Path) -> None:
    tried(data, tmp_path)


@pytest.mark.parametrize("kind", OTHERS)
def test_mutated_tokenizers_of_other_kinds(kind: str, tmp_path: Path) -> None:
    @given(data=mutated({**BYTE_LEVEL, "model": OTHERS[kind]}))
    @FEW
    def each(data: bytes) -> None:
        tried(data, tmp_path)

    each()


def tried(data: bytes, folder: Path) -> None:
    file = folder / "tokenizer.json"
    file.write_bytes(data)
    with suppress(MlxbuildError):
        use(file)


@pytest.mark.parametrize("identity", [2**32 - 1, MOST_TOKENS])
def test_ids_that_no_embedding_has_rows_for_are_refused(tmp_path: Path, identity: int) -> None:
    document = json.loads(json.dumps(BYTE_LEVEL))
    document["model"]["vocab"]["far"] = identity
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(document))
    with pytest.raises(TokenizerUnreadable, match=f"`far` has the id {identity:,}") as caught:
        Tokenizer.read(file)
    assert caught.value.where == str(file)
    assert caught.value.hint is not None


def test_added_tokens_go_on_from_the_vocabulary_whatever_their_ids_say(tmp_path: Path) -> None:
    document = json.loads(json.dumps(BYTE_LEVEL))
    document["added_tokens"].append({**document["added_tokens"][0], "content": "far", "id": 2**32 - 1})
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(document))
    tokenizer = Tokenizer.read(file)
    assert tokenizer.token_id("far") == tokenizer.vocabulary_size - 1 < MOST_TOKENS
