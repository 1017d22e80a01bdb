"""Tokenizers that go into GGUF files by the `gguf` package's own writers come back cutting every text as before."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gguf
import pytest
import sentencepiece
from gguf.vocab import SentencePieceVocab
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import CohereTokenizer, GPT2Tokenizer, Qwen2Tokenizer
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

from mlxbuild.toolchain.sources.gguf.header import read_gguf_file_header
from mlxbuild.toolchain.sources.gguf.metadata import Metadata
from mlxbuild.toolchain.sources.gguf.pre_tokenizers import PRE_TOKENIZERS
from mlxbuild.toolchain.sources.gguf.tokenizer import tokenizer_documents
from mlxbuild.toolchain.sources.gguf.vocabulary import read_vocabulary
from tests.toolchain.sources.gguf.test_derive_smollm2 import CHECK_TEXT

CORPUS = (
    CHECK_TEXT,
    "The quick brown fox jumps over the lazy dog. It's what they'd've done, isn't it?",
    "def add(left: int, right: int) -> int:\n    return left + right  # 1 + 1 == 2\n\n\tif x != 0x1F:\r\n\t\tpass",
    "日本語と한국어、привет мир! naïve café ﬁ ½ ² Ǆ ١٢٣ १२३",
    "camelCaseWords SCREAMING_CASE http://example.org/a/b?c=d&e=f <b>bold</b>",
)
WORDS = tuple(word for text in CORPUS for word in text.split(" "))

TEXTS = st.lists(
    st.one_of(
        st.sampled_from(WORDS),
        st.sampled_from([" ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", "'s", "'LL", "0", "12", "345", "e\u0301", "🦙"]),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
    ),
    max_size=12,
).map("".join)

Splitting = tuple[Any, Any]
"""A normalizer, which may be None, and a pre-tokenizer of the `tokenizers` package."""


def _of_regex(name: str) -> Splitting:
    split = pre_tokenizers.Split(Regex(GGUF_PRE_TOKENIZER_SPLITS[name]), behavior="isolated")
    return None, pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _of_class(kind: Callable[[], Any]) -> Splitting:
    backend = kind().backend_tokenizer
    return backend.normalizer, backend.pre_tokenizer


SPLITTINGS: dict[str, Callable[[], Splitting]] = {
    "gpt-2": lambda: _of_class(GPT2Tokenizer),
    "qwen2": lambda: _of_class(Qwen2Tokenizer),
    "command-r": lambda: _of_class(CohereTokenizer),
    "llama-bpe": lambda: _of_regex("llama-bpe"),
    "tekken": lambda: _of_regex("tekken"),
    "gpt-4o": lambda: _of_regex("gpt-4o"),
    "smollm": lambda: (
        None,
        pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]),
    ),
}
"""How the makers of the models have it, told by transformers."""


@functools.cache
def _byte_level(name: str) -> tuple[Tokenizer, Tokenizer]:
    """A small tokenizer, and what becomes of it by way of a GGUF file."""
    normalizer, pre_tokenizer = SPLITTINGS[name]()
    original = Tokenizer(models.BPE())
    original.normalizer = normalizer or normalizers.Sequence([])
    original.pre_tokenizer = pre_tokenizer
    original.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|endoftext|>", "<｜start▁here｜>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    original.train_from_iterator(CORPUS, trainer)
    original.add_tokens([AddedToken("<think>", normalized=False)])
    return original, _through_gguf(original, name)


def _through_gguf(original: Tokenizer, name: str) -> Tokenizer:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        original.save(str(place / "tokenizer.json"))
        (place / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>", "add_bos_token": False}))
        writer = gguf.GGUFWriter(place / "model.gguf", "llama")
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(name)
        # As `get_vocab_base` of llama.cpp's converter: added tokens control, or are the makers' own.
        added = original.get_added_tokens_decoder()
        texts = {number: text for text, number in original.get_vocab().items()}
        count = len(texts) + 3
        writer.add_token_list([texts.get(number, f"[PAD{number}]") for number in range(count)])
        kinds = [gguf.TokenType.NORMAL] * len(texts) + [gguf.TokenType.UNUSED] * 3
        for number, token in added.items():
            kinds[number] = gguf.TokenType.CONTROL if token.special else gguf.TokenType.USER_DEFINED
        writer.add_token_types(kinds)
        gguf.SpecialVocab(place, load_merges=True).add_to_gguf(writer, quiet=True)
        return _rebuilt(writer, place / "model.gguf")


def _rebuilt(writer: gguf.GGUFWriter, path: Path) -> Tokenizer:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    metadata = Metadata(read_gguf_file_header(path).metadata)
    return Tokenizer.from_str(tokenizer_documents(metadata, read_vocabulary(metadata))["tokenizer.json"].decode())


@pytest.mark.parametrize("name", SPLITTINGS)
@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
def test_byte_level(name: str, text: str) -> None:
    original, rebuilt = _byte_level(name)
    for given_text in (text, f"{text}<think>{text}<|endoftext|>\n<｜start▁here｜>{text}"):
        known = original.encode(given_text, add_special_tokens=False)
        assert rebuilt.encode(given_text, add_special_tokens=False).tokens == known.tokens
        assert rebuilt.encode(given_text, add_special_tokens=False).ids == known.ids
        assert rebuilt.decode(known.ids) == original.decode(known.ids)


@functools.cache
def _sentence_piece(*, has_prefix: bool) -> tuple[sentencepiece.SentencePieceProcessor, Tokenizer]:
    """A small SentencePiece model as Llama (with a prefix) and Gemma (without) train theirs, and what becomes of it."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        sentencepiece.SentencePieceTrainer.Train(
            sentence_iterator=iter([text.replace("\n", " ") for text in CORPUS] * 3),
            model_prefix=str(place / "tokenizer"),
            vocab_size=560,
            model_type="bpe",
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=has_prefix,
            allow_whitespace_only_pieces=True,
            split_digits=True,
            minloglevel=2,
        )
        vocabulary = SentencePieceVocab(place)
        writer = gguf.GGUFWriter(place / "model.gguf", "llama" if has_prefix else "gemma2")
        texts, scores, kinds = zip(*vocabulary.all_tokens(), strict=True)
        writer.add_tokenizer_model(vocabulary.tokenizer_model)
        writer.add_tokenizer_pre("default")
        writer.add_token_list(texts)
        writer.add_token_scores(scores)
        writer.add_token_types(kinds)
        writer.add_add_space_prefix(has_prefix)
        return vocabulary.sentencepiece_tokenizer, _rebuilt(writer, place / "model.gguf")


@pytest.mark.parametrize("has_prefix", [True, False])
@settings(max_examples=120, deadline=None)
@given(text=TEXTS)
def test_sentence_piece(has_prefix: bool, text: str) -> None:
    original, rebuilt = _sentence_piece(has_prefix=has_prefix)
    known: Sequence[int] = original.encode(text)
    assert rebuilt.encode(text, add_special_tokens=False).ids == list(known)
    assert rebuilt.encode(text).ids == [1, *known]
    assert rebuilt.decode(list(known)) == original.decode(list(known))


def test_names_of_one_model_cut_alike() -> None:
    for name, pattern in GGUF_PRE_TOKENIZER_SPLITS.items():
        if name in PRE_TOKENIZERS:
            split = PRE_TOKENIZERS[name].steps[0]
            assert split["pattern"] == {"Regex": pattern}, name


SPLIT_TEXT = "I'VE  12345 日本語かな naïve\r\n\n \t x=3.14;//a/b !!! ١٢٣ e\u0301 🦙🦙 HTTPServer's end "


def test_every_name_cuts_as_it_did() -> None:
    """Written down when the tokenizers of which llama.cpp keeps vocabularies were seen to cut all its texts alike."""
    pieces = {}
    for name, kind in PRE_TOKENIZERS.items():
        steps = {"type": "Sequence", "pretokenizers": list(kind.steps)}
        content = {"model": {"type": "BPE", "vocab": {}, "merges": []}, "pre_tokenizer": steps}
        cut = Tokenizer.from_str(json.dumps(content)).pre_tokenizer.pre_tokenize_str(SPLIT_TEXT)
        pieces[name] = "¦".join(SPLIT_TEXT[begin:end] for _, (begin, end) in cut)
    assert pieces == json.loads(Path(__file__).with_name("pieces.json").read_text(encoding="utf-8"))
