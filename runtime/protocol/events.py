"""What a loaded model says to a request, in the order in which it happens. Questions live in `requests`.

An answer is any number of `Progress` and `Chunk`, then one `Ending`. Embeddings and prompts are one event. A `Failure`
ends whatever it comes in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

FinishReason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a function."""

    name: str
    arguments: Mapping[str, Any]

    def as_message_part(self) -> dict[str, Any]:
        """As an entry of a message's `tool_calls`."""
        return {"type": "function", "function": {"name": self.name, "arguments": dict(self.arguments)}}


@dataclass(frozen=True, slots=True)
class TokenScore:
    """A token with its log-probability before filters and temperature."""

    token: int
    text: str
    """U+FFFD where the bytes are no whole character."""
    data: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How much of the prompt has gone through the model."""

    done_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of an answer: text, thinking or a call, as it comes."""

    text: str = ""
    thinking: str = ""
    tool_call: ToolCall | None = None
    token: int | None = None
    """Each token of the model is on one chunk, which may have no text yet."""
    score: TokenScore | None = None
    """Of that token, where log-probabilities were asked for."""
    alternatives: tuple[TokenScore, ...] = ()
    """The most likely tokens in its place, best first, as many as were asked for."""
    ending: Ending | None = None
    """On the last chunk only."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Why an answer ended, and what it took."""

    reason: FinishReason
    prompt_tokens: int
    reused_tokens: int
    """How many of them were in the prefix cache."""
    answer_tokens: int
    """The stop token included."""
    prompt_seconds: float
    """Until the first token."""
    answer_seconds: float
    """From the first token on."""
    stop: str | None = None
    """The stop text that ended it, where it was one that the caller or the artifact names."""
    tokens: tuple[int, ...] | None = None
    """Prompt and answer, where they were asked for."""


@dataclass(frozen=True, slots=True)
class Embeddings:
    """One vector for each input."""

    vectors: tuple[tuple[float, ...], ...]
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model would have been given."""

    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Failure:
    """An error of the one tree, on its way to another process."""

    code: str
    kind: str
    message: str
    where: str | None = None
    hint: str | None = None


Event = Progress | Chunk | Embeddings | Prompt | Failure


def is_last(event: Event) -> bool:
    """Whether nothing comes after it."""
    return not isinstance(event, Progress) and not (isinstance(event, Chunk) and event.ending is None)
