"""Builds the chunks of a streamed chat completion; `route` sends them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlxbuild.runtime.protocol.answers import Answer
from mlxbuild.runtime.protocol.events import Chunk
from mlxbuild.runtime.server.openai.chat.reply import thinking_fields
from mlxbuild.runtime.server.openai.replies import call_reply, score_reply, usage_reply


class ChatStream:
    """All choices of one stream. Thinking and text never share a chunk; a tool call is sent in one chunk."""

    def __init__(self, head: dict[str, Any], choices: int, *, with_scores: bool, with_usage: bool) -> None:
        """`head` has the fields that all chunks share."""
        self._head = {**head, "object": "chat.completion.chunk"}
        self._with_scores, self._with_usage = with_scores, with_usage
        self._answers = [Answer() for _ in range(choices)]
        self._begun = [False] * choices

    def chunks(self, index: int, chunk: Chunk) -> Iterator[dict[str, Any]]:
        """The stream chunks for a chunk of one choice."""
        answer = self._answers[index]
        scores = [score_reply(each) for each in answer.add(chunk)]
        if chunk.thinking:
            yield self._delta(index, thinking_fields(chunk.thinking))
        if chunk.text:
            yield self._delta(index, {"content": chunk.text}, {"content": scores, "refusal": None})
        if chunk.tool_call is not None:
            yield self._delta(index, {"tool_calls": [call_reply(chunk.tool_call, len(answer.tool_calls) - 1)]})
        if chunk.finish is not None:
            yield self._delta(index, {}, reason=chunk.finish.reason)

    def usage(self) -> Iterator[dict[str, Any]]:
        """The last chunk with the usage, if it was requested."""
        if self._with_usage:
            finishes = [answer.finish for answer in self._answers if answer.finish is not None]
            thinking = sum(answer.thinking_tokens for answer in self._answers)
            yield {**self._head, "choices": [], "usage": usage_reply(finishes, thinking)}

    def _delta(
        self, index: int, delta: dict[str, Any], scores: dict[str, Any] | None = None, reason: str | None = None
    ) -> dict[str, Any]:
        if not self._begun[index]:
            self._begun[index] = True
            opening = {"role": "assistant"} if "tool_calls" in delta else {"role": "assistant", "content": ""}
            delta = {**opening, **delta}
        logprobs = scores if self._with_scores else None
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return {**self._head, "choices": [choice], **({"usage": None} if self._with_usage else {})}
