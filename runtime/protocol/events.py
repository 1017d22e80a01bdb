"""The events with which a loaded model answers a request, in order; the requests are in `requests`.

An answer is any number of `Progress` and `Chunk` events; the last chunk carries a `GenerationFinished`. Embeddings and
prompts are one event each. A `Failure` ends any answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

FinishReason = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One tool call: the function's name and arguments."""

    name: str
    arguments: Mapping[str, Any]

    def as_message_part(self) -> dict[str, Any]:
        """The call as an entry of a message's `tool_calls`."""
        return {"type": "function", "function": {"name": self.name, "arguments": dict(self.arguments)}}


@dataclass(frozen=True, slots=True)
class TokenScore:
    """A token with its log-probability before sampling filters and temperature."""

    token: int
    text: str
    """The token's text, with U+FFFD where its bytes are not a whole character."""
    data: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How many of the prompt's tokens have been prefilled."""

    done_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """A streamed part of an answer: text, thinking or a tool call."""

    text: str = ""
    thinking: str = ""
    tool_call: ToolCall | None = None
    token: int | None = None
    """The sampled token; every token is on exactly one chunk, which may have no text yet."""
    score: TokenScore | None = None
    """The token's log-probability, where it was requested."""
    alternatives: tuple[TokenScore, ...] = ()
    """The most likely tokens at this position, best first, as many as were requested."""
    finish: GenerationFinished | None = None
    """Set on the last chunk only."""


@dataclass(frozen=True, slots=True)
class GenerationFinished:
    """The finish reason of an answer, with its token counts and timings."""

    reason: FinishReason
    prompt_tokens: int
    reused_tokens: int
    """How many of the prompt's tokens were in the prefix cache."""
    answer_tokens: int
    """The number of generated tokens, including the stop token."""
    prompt_seconds: float
    """Time until the first token."""
    answer_seconds: float
    """Time from the first token on."""
    stop: str | None = None
    """The stop sequence that ended the answer, where the caller or the artifact named one."""
    tokens: tuple[int, ...] | None = None
    """The tokens of prompt and answer, where they were requested."""


@dataclass(frozen=True, slots=True)
class Embeddings:
    """One vector for each input."""

    vectors: tuple[tuple[float, ...], ...]
    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Prompt:
    """The prompt that a request would give the model."""

    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Failure:
    """An `MlxbuildError` as plain data, to be sent to another process."""

    code: str
    kind: str
    message: str
    where: str | None = None
    hint: str | None = None


Event = Progress | Chunk | Embeddings | Prompt | Failure


def is_last(event: Event) -> bool:
    """Whether an event is the last one of its answer."""
    return not isinstance(event, Progress) and not (isinstance(event, Chunk) and event.finish is None)
