"""Builds the response of completions, whole or in chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mlxbuild.runtime.protocol.answers import Answer, ScoredToken
from mlxbuild.runtime.protocol.events import Chunk, TokenScore
from mlxbuild.runtime.server.openai.replies import usage_of

OBJECT = "text_completion"
PlacedScore = tuple[ScoredToken, int]
"""A token's score, and the token's offset in the text in characters."""


class Completions:
    """The choices of one request; `echoes` are the prompts to put before each, or empty."""

    def __init__(self, head: dict[str, Any], echoes: Sequence[str], choices_each: int, *, with_scores: bool) -> None:
        """`head` has the fields that the response and all chunks share; `choices_each` is the count per prompt."""
        self._head = {**head, "object": OBJECT}
        self._echoes, self._choices_each, self._with_scores = list(echoes), choices_each, with_scores
        self._answers = [Answer() for _ in echoes]
        self._lengths = [len(echo) for echo in echoes]
        """The length of each choice's text so far, in characters."""
        self._scores: list[list[PlacedScore]] = [[] for _ in echoes]

    def reply(self) -> dict[str, Any]:
        """The whole response."""
        choices = []
        for index, (echo, answer) in enumerate(zip(self._echoes, self._answers, strict=True)):
            scores = _written(self._scores[index]) if self._with_scores else None
            reason = None if answer.finish is None else answer.finish.reason
            choices.append(_choice(index, echo + answer.text, scores, reason))
        return {**self._head, "choices": choices, "usage": self._usage()}

    def add(self, index: int, chunk: Chunk) -> list[PlacedScore]:
        """Add a chunk of one choice; returns the scores of its tokens."""
        scored = self._answers[index].add(chunk)
        start = self._lengths[index]
        end = self._lengths[index] = start + len(chunk.text)
        placed = list(zip(scored, _offsets(scored, start, end), strict=True))
        self._scores[index] += placed
        return placed

    def chunks(self, index: int, chunk: Chunk, *, with_usage: bool) -> Iterator[dict[str, Any]]:
        """The stream chunks for a chunk of one choice."""
        placed = self.add(index, chunk)
        begins, self._echoes[index] = self._echoes[index], ""
        text = begins + chunk.text
        if text or chunk.finish is not None:
            scores = _written(placed) if self._with_scores else None
            reason = None if chunk.finish is None else chunk.finish.reason
            usage = {"usage": None} if with_usage else {}
            yield {**self._head, "choices": [_choice(index, text, scores, reason)], **usage}

    def usage_chunk(self) -> dict[str, Any]:
        """The last chunk of a stream, with the usage."""
        return {**self._head, "choices": [], "usage": self._usage()}

    def _usage(self) -> dict[str, Any]:
        finishes = [answer.finish for answer in self._answers if answer.finish is not None]
        prompt_tokens = sum(finish.prompt_tokens for finish in finishes[:: self._choices_each])
        return usage_of(prompt_tokens, sum(finish.answer_tokens for finish in finishes), finishes)


def _choice(index: int, text: str, scores: dict[str, Any] | None, reason: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": scores, "finish_reason": reason}


def _written(placed: Sequence[PlacedScore]) -> dict[str, Any]:
    """The log-probabilities; of tokens with the same text the sampled one, or else the most likely one, is returned."""
    return {
        "tokens": [_text(each.score) for each, _ in placed],
        "token_logprobs": [each.score.logprob for each, _ in placed],
        "top_logprobs": [
            {_text(other): other.logprob for other in reversed(each.alternatives)}
            | ({_text(each.score): each.score.logprob} if each.alternatives else {})
            for each, _ in placed
        ],
        "text_offset": [offset for _, offset in placed],
    }


def _text(score: TokenScore) -> str:
    """The token's text; for a part of a character its bytes, in OpenAI's format."""
    try:
        return score.data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in score.data)


def _offsets(scored: Sequence[ScoredToken], start: int, end: int) -> list[int]:
    """The offsets of the tokens in the text from `start` to `end`; a part of a character has its character's offset."""
    offsets: list[int] = []
    following = b""
    for each in reversed(scored):
        following = each.score.data + following
        characters = sum(_begins_one(byte) for byte in following)
        goes_on = bool(following) and not _begins_one(following[0])
        offsets.append(max(start, end - characters - goes_on))
    return offsets[::-1]


def _begins_one(byte: int) -> bool:
    """Whether a byte starts a character in UTF-8, and is not a continuation byte."""
    return byte & 0xC0 != 0x80
