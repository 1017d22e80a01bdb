"""From the tokens of one answer to its chunks: text, stop sequences, log-probabilities, finish reason."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from mlxbuild.runtime.engine.core.prepared_request import Prepared
from mlxbuild.runtime.engine.output.markers import MarkerSearch
from mlxbuild.runtime.model.tokenizer import Tokenizer
from mlxbuild.runtime.protocol.events import Chunk, FinishReason, GenerationFinished, TokenScore


@dataclass(frozen=True, slots=True)
class Scores:
    """The log-probability of a token, and the most likely tokens at its position with theirs, by id, best first."""

    logprob: float
    best: tuple[tuple[int, float], ...] = ()


class AnswerWriter:
    """Turns the tokens of one answer into chunks. Stop tokens have no text; text from a stop sequence on is cut off.

    Stop sequences apply to the text of the answer only: reasoning and tool calls may contain them.
    """

    def __init__(self, tokenizer: Tokenizer, prepared: Prepared) -> None:
        self._tokenizer = tokenizer
        self._prepared = prepared
        self._detokenizer = tokenizer.detokenizer()
        self._search = MarkerSearch(prepared.options.stops)
        self._answer: list[int] = []
        self._stop: str | None = None
        self._begun = self._first = time.perf_counter()
        self.reason: FinishReason | None = None
        """The finish reason; None while the answer goes on."""
        self.limit = prepared.limit
        """How many tokens the answer may have; None without a limit."""
        self.reused_tokens = 0
        """How many tokens of the prompt were in the prefix cache."""

    @property
    def answer_tokens(self) -> int:
        """How many tokens the answer has, a stop token included."""
        return len(self._answer)

    def begin(self, reused_tokens: int) -> None:
        """Start measuring: prefill begins now, without the tokens that were in the prefix cache."""
        self._begun = time.perf_counter()
        self.reused_tokens = reused_tokens

    def add(self, token: int, scores: Scores | None = None) -> list[Chunk]:
        """The chunks that a token completes; with the last token, the finish reason too."""
        if not self._answer:
            self._first = time.perf_counter()
        self._answer.append(token)
        chunks: list[Chunk] = []
        if token in self._prepared.stop_tokens:
            self.reason = "stop"
        else:
            chunks = self._split(self._detokenizer.add(token))
            if self.answer_tokens > self._prepared.options.min_tokens:
                chunks = self._told(chunks)
            last = chunks.pop() if chunks else Chunk()
            score = None if scores is None else self._score(token, scores.logprob)
            best = () if scores is None else tuple(self._score(*each) for each in scores.best)
            chunks.append(replace(last, token=token, score=score, alternatives=best))
            if self._stop is not None or (self._prepared.splitter is not None and self._prepared.splitter.is_over):
                self.reason = "stop"
            elif self.answer_tokens == self.limit:
                self.reason = "length"
        if self.reason is not None:
            chunks += self._finished(self.reason)
        return chunks

    def _finished(self, reason: FinishReason) -> list[Chunk]:
        chunks = self._told(self._split(self._detokenizer.finish()))
        splitter = self._prepared.splitter
        if splitter is not None:
            chunks += self._told(splitter.finish(is_cut=reason == "length"))
            reason = "tool_calls" if splitter.called and reason == "stop" else reason
        if self._stop is None and (rest := self._search.finish()):
            chunks.append(Chunk(text=rest))
        now = time.perf_counter()
        finish = GenerationFinished(
            reason=reason,
            prompt_tokens=len(self._prepared.tokens),
            reused_tokens=self.reused_tokens,
            answer_tokens=self.answer_tokens,
            prompt_seconds=self._first - self._begun,
            answer_seconds=now - self._first,
            stop=self._stop,
            tokens=(*self._prepared.tokens, *self._answer) if self._prepared.wants_tokens else None,
        )
        return [*chunks, Chunk(finish=finish)]

    def _split(self, text: str) -> list[Chunk]:
        splitter = self._prepared.splitter
        if splitter is not None:
            return splitter.feed(text)
        return [Chunk(text=text)] if text else []

    def _told(self, chunks: list[Chunk]) -> list[Chunk]:
        """The chunks up to a stop sequence, without text that may be the beginning of one."""
        told: list[Chunk] = []
        for chunk in chunks:
            if self._stop is not None:
                break
            if chunk.text:
                text, self._stop = self._search.feed(chunk.text)
            else:  # a stop sequence does not continue across it
                text = self._search.finish()
                told += [Chunk(text=text), chunk] if text else [chunk]
                continue
            if text:
                told.append(Chunk(text=text))
        return told

    def _score(self, token: int, logprob: float) -> TokenScore:
        return TokenScore(token, *self._tokenizer.piece(token), logprob)
