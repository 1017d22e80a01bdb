"""Log-probabilities of completions: by text, with the places of tokens in the text, whole and streamed."""

from __future__ import annotations

from typing import Any

from mlxbuild.runtime.protocol.events import Chunk, GenerationFinished, TokenScore
from mlxbuild.runtime.server.openai.completions.reply import Completions

HEAD = {"id": "cmpl-1", "created": 1, "model": "hello"}
END = Chunk(finish=GenerationFinished("stop", 3, 0, 4, 0.1, 0.2))


def score(data: bytes, logprob: float = -1.0) -> TokenScore:
    return TokenScore(1, data.decode(errors="replace"), data, logprob)


def scored(text: str, data: bytes, *others: TokenScore) -> Chunk:
    return Chunk(text=text, token=1, score=score(data), alternatives=others)


def told(*chunks: Chunk, echo: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    """Of the whole reply, and of the chunks of a stream together."""
    whole = Completions(HEAD, [echo], 1, with_scores=True)
    stream = Completions(HEAD, [echo], 1, with_scores=True)
    together: dict[str, list[Any]] = {}
    for chunk in (*chunks, END):
        whole.add(0, chunk)
        for each in stream.chunks(0, chunk, with_usage=False):
            for name, values in each["choices"][0]["logprobs"].items():
                together.setdefault(name, []).extend(values)
    return whole.reply()["choices"][0]["logprobs"], together


def test_of_tokens_with_one_text_the_likeliest_is_told_and_the_chosen_one_always() -> None:
    others = (score(b" a", -0.5), score(b" b", -1.0), score(b" a", -2.0))
    whole, streamed = told(scored(" a", b" a", *others), scored(" c", b" c", *others))
    assert whole == streamed
    assert whole["top_logprobs"] == [{" a": -1.0, " b": -1.0}, {" a": -0.5, " b": -1.0, " c": -1.0}]


def test_places_count_characters_whatever_their_bytes() -> None:
    chunks = (
        scored("é", "é".encode()),
        scored("", b"\xf0\x9f"),
        scored("😀", b"\x98\x80"),
        scored("日本", "日本".encode()),
        scored("x", b"x"),
    )
    whole, streamed = told(*chunks, echo="Größe")
    assert whole == streamed
    assert whole["text_offset"] == [5, 6, 6, 7, 9]
    assert whole["tokens"] == ["é", r"bytes:\xf0\x9f", r"bytes:\x98\x80", "日本", "x"]


def test_a_token_that_lost_its_space_begins_with_the_text() -> None:
    whole, _ = told(scored("Hello", b" Hello"), scored(" you", b" you"))
    assert whole["text_offset"] == [0, 5]


def test_bytes_that_are_no_characters_do_not_share_a_name() -> None:
    whole, _ = told(scored("a", b"a", score(b"\xe2", -0.1), score(b"\xe3", -0.2)))
    assert whole["top_logprobs"] == [{"a": -1.0, r"bytes:\xe2": -0.1, r"bytes:\xe3": -0.2}]
