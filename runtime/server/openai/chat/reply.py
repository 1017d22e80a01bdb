"""The response of a chat completion that is not streamed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlxbuild.runtime.protocol.answers import Answer
from mlxbuild.runtime.server.openai.replies import call_reply, score_reply, usage_reply


def chat_reply(head: dict[str, Any], answers: Sequence[Answer], *, with_scores: bool) -> dict[str, Any]:
    """The whole response; `head` has the fields that it shares with the chunks of a stream."""
    finishes = [answer.finish for answer in answers if answer.finish is not None]
    return {
        **head,
        "object": "chat.completion",
        "choices": [_choice(number, answer, with_scores) for number, answer in enumerate(answers)],
        "usage": usage_reply(finishes, sum(answer.thinking_tokens for answer in answers)),
    }


def thinking_fields(thinking: str) -> dict[str, str]:
    """The thinking under both names that clients look for."""
    return {"reasoning": thinking, "reasoning_content": thinking}


def _choice(index: int, answer: Answer, with_scores: bool) -> dict[str, Any]:
    calls = [call_reply(call, number) for number, call in enumerate(answer.tool_calls)]
    message: dict[str, Any] = {"role": "assistant", "content": answer.text if answer.text or not calls else None}
    message["refusal"] = None
    if answer.thinking:
        message |= thinking_fields(answer.thinking)
    if calls:
        message["tool_calls"] = calls
    scores = {"content": [score_reply(each) for each in answer.scores], "refusal": None} if with_scores else None
    reason = None if answer.finish is None else answer.finish.reason
    return {"index": index, "message": message, "logprobs": scores, "finish_reason": reason}
