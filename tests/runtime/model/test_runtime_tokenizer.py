"""Tokens become text piece by piece without half a character, and the pieces are the whole."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st

from mlxbuild.runtime.model.tokenizer import Tokenizer, TokenizerUnreadable
from tests.runtime.tiny_folders import byte_tokenizer, write_tokenizer

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.sampled_from(
    [
        "é",
        "Zürich €",
        "👩‍👩‍👧‍👦 family",
        "नमस्ते",
        "  two  spaces ",
        "a\ufffdb",
        "\ufffd",
        "日本語",
        "\n\n\t",
        "<think>x</think>",
    ]
)


def metaspace_tokenizer() -> tokenizers.Tokenizer:
    """As SentencePiece models are: a mark for spaces, single bytes for what has no piece."""
    vocabulary = {"<unk>": 0} | {f"<0x{byte:02X}>": byte + 1 for byte in range(256)}
    for piece in ("▁", "▁a", "▁the", "h", "e", "é", "▁▁"):
        vocabulary.setdefault(piece, len(vocabulary))
    model = tokenizers.models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True, fuse_unk=False)
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = tokenizers.normalizers.Sequence(
        [tokenizers.normalizers.Prepend("▁"), tokenizers.normalizers.Replace(" ", "▁")]
    )
    decoders = tokenizers.decoders
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


BYTES, METASPACE = Tokenizer(byte_tokenizer()), Tokenizer(metaspace_tokenizer())
BOTH = pytest.mark.parametrize("tokenizer", [BYTES, METASPACE], ids=["bytes", "metaspace"])


def streamed(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    detokenizer = tokenizer.detokenizer()
    return [*(detokenizer.add(token) for token in ids), detokenizer.finish()]


@BOTH
@given(text=TEXT)
def test_pieces_are_the_whole_text(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    pieces = streamed(tokenizer, ids)
    assert "".join(pieces) == tokenizer.decode(ids)
    if "\ufffd" not in text and tokenizer is BYTES:
        assert "".join(pieces) == text
        assert not any("\ufffd" in piece for piece in pieces)


@given(ids=st.lists(st.integers(0, BYTES.vocabulary_size - 1), max_size=40))
def test_any_tokens_at_all_come_out_as_decoded_at_once(ids: list[int]) -> None:
    assert "".join(streamed(BYTES, ids)) == BYTES.decode(ids)


def test_text_comes_as_soon_as_its_last_byte() -> None:
    ids = BYTES.encode("a€b")
    assert len(ids) == 5
    assert streamed(BYTES, ids) == ["a", "", "", "€", "b", ""]


def test_broken_bytes_do_not_hold_the_text_back_for_ever() -> None:
    (first_byte, *_) = BYTES.encode("é")
    pieces = streamed(BYTES, [first_byte] * 200)
    assert max(len(piece) for piece in pieces) < 100
    assert "".join(pieces) == "\ufffd" * 200


def test_a_detokenizer_can_be_used_again_after_its_end() -> None:
    detokenizer = BYTES.detokenizer()
    for _ in range(2):
        assert "".join([*(detokenizer.add(token) for token in BYTES.encode("hé")), detokenizer.finish()]) == "hé"


def test_ids_are_those_of_transformers(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    write_tokenizer(tmp_path)
    ours, theirs = Tokenizer.open(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    for text in ("hello world", "<|im_start|>user\nZürich €<|im_end|>\n", "  <think>", ""):
        assert ours.encode(text) == theirs.encode(text, add_special_tokens=False)
    assert ours.vocabulary() == theirs.get_vocab()
    assert ours.token_id("<|im_end|>") == theirs.convert_tokens_to_ids("<|im_end|>")
    assert ours.token_id("no such token") is None


def test_saved_truncation_and_padding_are_ignored(tmp_path: Path) -> None:
    backend = byte_tokenizer()
    backend.enable_truncation(3)
    backend.enable_padding(length=10)
    backend.save(str(tmp_path / "tokenizer.json"))
    assert Tokenizer.open(tmp_path).encode("é€é€") == BYTES.encode("é€é€")


def test_without_tokenizer_json_transformers_makes_one(tmp_path: Path) -> None:
    byte_tokenizer().model.save(str(tmp_path))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    assert sorted(path.name for path in tmp_path.iterdir()) == ["merges.txt", "tokenizer_config.json", "vocab.json"]
    tokenizer = Tokenizer.open(tmp_path)
    assert tokenizer.decode(tokenizer.encode("hello wörld")) == "hello wörld"


def test_nothing_that_could_be_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(TokenizerUnreadable, match=r"no tokenizer\.json"):
        Tokenizer.open(tmp_path)


def test_a_damaged_tokenizer_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"model": ')
    with pytest.raises(TokenizerUnreadable) as caught:
        Tokenizer.open(tmp_path)
    assert caught.value.where == str(tmp_path / "tokenizer.json")


def test_every_token_has_its_bytes() -> None:
    import tokenizers

    backend = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={"▁a": 0, "<0xC3>": 1, "<0xA9>": 2, "é": 3}, merges=[]))
    backend.add_special_tokens(["<s>"])
    backend.decoder = tokenizers.decoders.Sequence(
        [tokenizers.decoders.Replace("▁", " "), tokenizers.decoders.ByteFallback(), tokenizers.decoders.Fuse()]
    )
    pieces = [Tokenizer(backend).piece(token) for token in range(6)]
    assert pieces == [
        (" a", b" a"),
        ("\ufffd", b"\xc3"),
        ("\ufffd", b"\xa9"),
        ("é", b"\xc3\xa9"),
        ("<s>", b"<s>"),
        ("", b""),
    ]
    tokenizer = Tokenizer(byte_tokenizer())
    text = "hello wörld, \x00 你 <|im_end|>"
    assert b"".join(tokenizer.piece(token)[1] for token in tokenizer.encode(text)) == text.encode()


@BOTH
def test_of_a_text_that_is_far_too_long_the_end_is_left_out(tokenizer: Tokenizer) -> None:
    text = "hea the é" * 60_000
    whole = tokenizer.encode(text)
    begun = tokenizer.encode(text, most=1000)
    assert 2000 < len(begun) < len(whole) * 0.6
    assert begun[:-1] == whole[: len(begun) - 1]
    assert tokenizer.encode(text, most=len(whole)) == whole


def test_other_threads_run_while_a_long_text_is_split() -> None:
    over, ticks = threading.Event(), 0

    def tick() -> None:
        nonlocal ticks
        while not over.wait(0.001):
            ticks += 1

    thread = threading.Thread(target=tick)
    thread.start()
    before = ticks
    METASPACE.encode("the a " * 500_000)
    after = ticks
    over.set()
    thread.join()
    assert after - before >= 10
