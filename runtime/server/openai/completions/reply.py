"""Completions in one piece, and in chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mlxbuild.runtime.protocol.answers import Answer, ScoredToken
from mlxbuild.runtime.protocol.events import Chunk, TokenScore
from mlxbuild.runtime.server.openai.replies import usage_of

OBJECT = "text_completion"
PlacedScore = tuple[ScoredToken, int]
"""With where the token begins in the text, in characters."""


class Completions:
    """The choices of one request; `echoes` are what precedes each, empty where nothing is echoed."""

    def __init__(self, head: dict[str, Any], echoes: Sequence[str], choices_each: int, *, with_scores: bool) -> None:
        """`head` is what the reply and all chunks share; `choices_each` is how many belong to one prompt."""
        self._head = {**head, "object": OBJECT}
        self._echoes, self._choices_each, self._with_scores = list(echoes), choices_each, with_scores
        self._answers = [Answer() for _ in echoes]
        self._lengths = [len(echo) for echo in echoes]
        """Of what each choice has told so far, in characters."""
        self._scores: list[list[PlacedScore]] = [[] for _ in echoes]

    def reply(self) -> dict[str, Any]:
        """Everything, at the end."""
        choices = []
        for index, (echo, answer) in enumerate(zip(self._echoes, self._answers, strict=True)):
            scores = _written(self._scores[index]) if self._with_scores else None
            reason = None if answer.ending is None else answer.ending.reason
            choices.append(_choice(index, echo + answer.text, scores, reason))
        return {**self._head, "choices": choices, "usage": self._usage()}

    def add(self, index: int, chunk: Chunk) -> list[PlacedScore]:
        """Take a chunk of one choice; gives the scores of its tokens."""
        scored = self._answers[index].add(chunk)
        start = self._lengths[index]
        end = self._lengths[index] = start + len(chunk.text)
        placed = list(zip(scored, _offsets(scored, start, end), strict=True))
        self._scores[index] += placed
        return placed

    def chunks(self, index: int, chunk: Chunk, *, with_usage: bool) -> Iterator[dict[str, Any]]:
        """What a chunk of one choice adds to a stream."""
        placed = self.add(index, chunk)
        begins, self._echoes[index] = self._echoes[index], ""
        text = begins + chunk.text
        if text or chunk.ending is not None:
            scores = _written(placed) if self._with_scores else None
            reason = None if chunk.ending is None else chunk.ending.reason
            usage = {"usage": None} if with_usage else {}
            yield {**self._head, "choices": [_choice(index, text, scores, reason)], **usage}

    def usage_chunk(self) -> dict[str, Any]:
        """The last chunk of a stream that tells its usage."""
        return {**self._head, "choices": [], "usage": self._usage()}

    def _usage(self) -> dict[str, Any]:
        endings = [answer.ending for answer in self._answers if answer.ending is not None]
        prompt_tokens = sum(ending.prompt_tokens for ending in endings[:: self._choices_each])
        return usage_of(prompt_tokens, sum(ending.answer_tokens for ending in endings), endings)


def _choice(index: int, text: str, scores: dict[str, Any] | None, reason: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": scores, "finish_reason": reason}


def _written(placed: Sequence[PlacedScore]) -> dict[str, Any]:
    """Of tokens with the same text only the likeliest is told; the one that was chosen always is."""
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
    """The token's text; of a part of a character its bytes, in OpenAI's form."""
    try:
        return score.data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in score.data)


def _offsets(scored: Sequence[ScoredToken], start: int, end: int) -> list[int]:
    """Where the tokens begin that make the text from `start` to `end`; a part of a character begins where that does."""
    offsets: list[int] = []
    following = b""
    for each in reversed(scored):
        following = each.score.data + following
        characters = sum(_begins_one(byte) for byte in following)
        goes_on = bool(following) and not _begins_one(following[0])
        offsets.append(max(start, end - characters - goes_on))
    return offsets[::-1]


def _begins_one(byte: int) -> bool:
    """Whether a character begins with it in UTF-8, and does not only go on."""
    return byte & 0xC0 != 0x80
