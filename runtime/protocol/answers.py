"""A whole answer, put together from its chunks, for whoever sends it in one piece or has to know it at the end."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlxbuild.runtime.protocol.events import Chunk, Ending, TokenScore, ToolCall


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """A token of the answer's text, with the most likely ones in its place."""

    score: TokenScore
    alternatives: tuple[TokenScore, ...] = ()


class TextScores:
    """Finds the scores that belong to the text of an answer, and leaves out those of thinking, calls and markers.

    A token's text may come later than the token: it was a part of a character, or perhaps of a stop text.
    """

    def __init__(self) -> None:
        self._waiting: list[ScoredToken] = []

    def add(self, chunk: Chunk) -> tuple[ScoredToken, ...]:
        """The scores of exactly the tokens whose text is complete with this chunk."""
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
    """What has come of an answer so far."""

    tool_calls: list[ToolCall] = field(default_factory=list)
    scores: list[ScoredToken] = field(default_factory=list)
    """Of the text's tokens, where log-probabilities were asked for."""
    thinking_tokens: int = 0
    """All tokens up to the last one that brought thinking."""
    ending: Ending | None = None
    _texts: list[str] = field(default_factory=list)
    _thoughts: list[str] = field(default_factory=list)
    _tokens: int = 0
    _text_scores: TextScores = field(default_factory=TextScores)

    @property
    def text(self) -> str:
        """All text."""
        return "".join(self._texts)

    @property
    def thinking(self) -> str:
        """All thinking."""
        return "".join(self._thoughts)

    def add(self, chunk: Chunk) -> tuple[ScoredToken, ...]:
        """Append a chunk; gives the scores of the tokens whose text it completes."""
        self._texts.append(chunk.text)
        self._thoughts.append(chunk.thinking)
        if chunk.tool_call is not None:
            self.tool_calls.append(chunk.tool_call)
        self._tokens += chunk.token is not None
        if chunk.thinking:
            self.thinking_tokens = self._tokens
        scores = self._text_scores.add(chunk)
        self.scores += scores
        self.ending = chunk.ending or self.ending
        return scores
