"""Assembles an answer from its chunks, for responses that are not streamed and for the end of those that are."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlxbuild.runtime.protocol.events import Chunk, GenerationFinished, TokenScore, ToolCall


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """A token of the answer's text and its log-probability, with the most likely alternatives."""

    score: TokenScore
    alternatives: tuple[TokenScore, ...] = ()


class TextScores:
    """Finds the scores of the tokens in an answer's text; leaves out those of thinking, tool calls and markers.

    A token's text may come later than the token: it may be part of a character or of a stop sequence.
    """

    def __init__(self) -> None:
        self._waiting: list[ScoredToken] = []

    def add(self, chunk: Chunk) -> tuple[ScoredToken, ...]:
        """Take the next chunk; returns the scores of the tokens whose text is complete with it."""
        if chunk.score is not None:
            self._waiting.append(ScoredToken(chunk.score, chunk.alternatives))
        if chunk.thinking or chunk.tool_call is not None:
            self._waiting.clear()
        if not chunk.text:
            return ()
        needed = len(chunk.text.encode(errors="replace"))
        first = len(self._waiting)
        while first > 0 and needed > 0:
            first -= 1
            needed -= len(self._waiting[first].score.data)
        told = tuple(self._waiting[first:])
        self._waiting.clear()
        return told


@dataclass(slots=True)
class Answer:
    """An answer as received so far."""

    tool_calls: list[ToolCall] = field(default_factory=list)
    scores: list[ScoredToken] = field(default_factory=list)
    """Scores of the tokens in the text; empty unless log-probabilities were requested."""
    thinking_tokens: int = 0
    """The number of tokens up to and including the last one that carried thinking."""
    finish: GenerationFinished | None = None
    _texts: list[str] = field(default_factory=list)
    _thoughts: list[str] = field(default_factory=list)
    _tokens: int = 0
    _text_scores: TextScores = field(default_factory=TextScores)

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self._texts)

    @property
    def thinking(self) -> str:
        """The thinking so far."""
        return "".join(self._thoughts)

    def add(self, chunk: Chunk) -> tuple[ScoredToken, ...]:
        """Append a chunk; returns the scores of the tokens whose text it completes."""
        self._texts.append(chunk.text)
        self._thoughts.append(chunk.thinking)
        if chunk.tool_call is not None:
            self.tool_calls.append(chunk.tool_call)
        self._tokens += chunk.token is not None
        if chunk.thinking:
            self.thinking_tokens = self._tokens
        scores = self._text_scores.add(chunk)
        self.scores += scores
        self.finish = chunk.finish or self.finish
        return scores
