"""Completions in one piece, and in chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from runtime.protocol.answers import Answer, ScoredToken
from runtime.protocol.events import Chunk
from runtime.server.openai.replies import usage_of

OBJECT = "text_completion"


class Completions:
    """The choices of one request; `echoes` are what precedes each, empty where nothing is echoed."""

    def __init__(self, head: dict[str, Any], echoes: Sequence[str], choices_each: int, *, with_scores: bool) -> None:
        """`head` is what the reply and all chunks share; `choices_each` is how many belong to one prompt."""
        self._head = {**head, "object": OBJECT}
        self._echoes, self._choices_each, self._with_scores = list(echoes), choices_each, with_scores
        self._answers = [Answer() for _ in echoes]
        self._offsets = [len(echo) for echo in echoes]

    def reply(self) -> dict[str, Any]:
        """Everything, at the end."""
        choices = []
        for index, (echo, answer) in enumerate(zip(self._echoes, self._answers, strict=True)):
            scores = _scores(answer.scores, len(echo)) if self._with_scores else None
            reason = None if answer.ending is None else answer.ending.reason
            choices.append(_choice(index, echo + answer.text, scores, reason))
        return {**self._head, "choices": choices, "usage": self._usage()}

    def add(self, index: int, chunk: Chunk) -> tuple[ScoredToken, ...]:
        """Take a chunk of one choice."""
        return self._answers[index].add(chunk)

    def chunks(self, index: int, chunk: Chunk, *, with_usage: bool) -> Iterator[dict[str, Any]]:
        """What a chunk of one choice adds to a stream."""
        scored = self.add(index, chunk)
        begins, self._echoes[index] = self._echoes[index], ""
        text = begins + chunk.text
        if text or chunk.ending is not None:
            scores = _scores(scored, self._offsets[index]) if self._with_scores else None
            reason = None if chunk.ending is None else chunk.ending.reason
            usage = {"usage": None} if with_usage else {}
            yield {**self._head, "choices": [_choice(index, text, scores, reason)], **usage}
        self._offsets[index] += len(chunk.text)

    def usage_chunk(self) -> dict[str, Any]:
        """The last chunk of a stream that tells its usage."""
        return {**self._head, "choices": [], "usage": self._usage()}

    def _usage(self) -> dict[str, Any]:
        endings = [answer.ending for answer in self._answers if answer.ending is not None]
        prompt_tokens = sum(ending.prompt_tokens for ending in endings[:: self._choices_each])
        return usage_of(prompt_tokens, sum(ending.answer_tokens for ending in endings), endings)


def _choice(index: int, text: str, scores: dict[str, Any] | None, reason: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": scores, "finish_reason": reason}


def _scores(scored: Sequence[ScoredToken], offset: int) -> dict[str, Any]:
    offsets = []
    for each in scored:
        offsets.append(offset)
        offset += len(each.score.text)
    return {
        "tokens": [each.score.text for each in scored],
        "token_logprobs": [each.score.logprob for each in scored],
        "top_logprobs": [{other.text: other.logprob for other in each.alternatives} for each in scored],
        "text_offset": offsets,
    }
