"""Writes answers in the native format: pieces with text, thinking and tool calls, and the statistics at the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from mlxbuild.runtime.protocol.answers import Answer, ScoredToken
from mlxbuild.runtime.protocol.events import Chunk, GenerationFinished, TokenScore
from mlxbuild.runtime.residency.lease import Lease
from mlxbuild.runtime.server.ollama.messages import written_calls


class Form(Protocol):
    """The format in which a route wraps an answer."""

    def __call__(self, text: str, thinking: str, tool_calls: list[dict[str, Any]]) -> dict[str, Any]:
        """The fields that carry text, thinking and tool calls."""


def in_response(text: str, thinking: str, tool_calls: list[dict[str, Any]]) -> dict[str, Any]:
    """The format of `generate`."""
    fields: dict[str, Any] = {"response": text}
    fields |= {"thinking": thinking} if thinking else {}
    return fields | ({"tool_calls": tool_calls} if tool_calls else {})


def in_message(text: str, thinking: str, tool_calls: list[dict[str, Any]]) -> dict[str, Any]:
    """The format of `chat`."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    message |= {"thinking": thinking} if thinking else {}
    return {"message": message | ({"tool_calls": tool_calls} if tool_calls else {})}


class AnswerWriter:
    """Converts one answer to JSON objects."""

    def __init__(self, model: str, form: Form, *, begun: float, lease: Lease) -> None:
        """`model` is the name as the client wrote it; `begun` is `time.perf_counter()` when the request came."""
        self._model, self._form, self._begun, self._lease = model, form, begun, lease
        self._answer = Answer()

    def piece(self, chunk: Chunk) -> dict[str, Any] | None:
        """The stream object for a chunk; None if the chunk has nothing to send."""
        first_index = len(self._answer.tool_calls)
        scores = self._answer.add(chunk)
        calls = written_calls([chunk.tool_call], first_index) if chunk.tool_call else []
        if not (chunk.text or chunk.thinking or calls or scores):
            return None
        return self._object(self._form(chunk.text, chunk.thinking, calls), scores, is_done=False)

    def end(self) -> dict[str, Any]:
        """The last object of a stream."""
        return self._object(self._form("", "", []), (), is_done=True) | self._counts()

    def whole(self) -> dict[str, Any]:
        """The whole answer as one object."""
        answer = self._answer
        calls = written_calls(answer.tool_calls, 0)
        fields = self._form(answer.text, answer.thinking, calls)
        return self._object(fields, answer.scores, is_done=True) | self._counts()

    def _object(self, fields: dict[str, Any], scores: Sequence[ScoredToken], *, is_done: bool) -> dict[str, Any]:
        head: dict[str, Any] = {"model": self._model, "created_at": now(), **fields}
        if scores:
            head["logprobs"] = [_written(scored) for scored in scores]
        return head | {"done": is_done}

    def _counts(self) -> dict[str, Any]:
        finish = self._answer.finish
        if finish is None:
            return {}
        counts: dict[str, Any] = {"done_reason": _reason(finish)}
        if finish.tokens is not None:
            counts["context"] = list(finish.tokens)
        figures = {
            "total_duration": nanoseconds(time.perf_counter() - self._begun),
            "load_duration": max(1, nanoseconds(self._lease.load_seconds)),
            "prompt_eval_count": finish.prompt_tokens,
            "prompt_eval_duration": nanoseconds(finish.prompt_seconds),
            "eval_count": finish.answer_tokens,
            "eval_duration": nanoseconds(finish.answer_seconds),
        }
        return counts | {name: figure for name, figure in figures.items() if figure}


def now() -> str:
    """The current time in UTC, in the format of RFC 3339."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def nanoseconds(seconds: float) -> int:
    """Convert a duration to nanoseconds, the unit of the API."""
    return round(seconds * 1e9)


def _reason(finish: GenerationFinished) -> str:
    """The finish reason; tool calls count as `stop` in this API."""
    return "length" if finish.reason == "length" else "stop"


def _written(scored: ScoredToken) -> dict[str, Any]:
    alternatives = [_score(each) for each in scored.alternatives]
    return _score(scored.score) | ({"top_logprobs": alternatives} if alternatives else {})


def _score(score: TokenScore) -> dict[str, Any]:
    return {"token": score.text, "logprob": score.logprob, "bytes": list(score.data)}
