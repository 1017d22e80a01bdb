"""The parts that responses of several of OpenAI's routes share: usage, tool calls and log-probabilities."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from mlxbuild.runtime.protocol.answers import ScoredToken
from mlxbuild.runtime.protocol.events import GenerationFinished, TokenScore, ToolCall
from mlxbuild.runtime.server.inference.ids import call_id


def arguments_text(call: ToolCall) -> str:
    """A tool call's arguments in OpenAI's format: JSON in a string."""
    return json.dumps(call.arguments, ensure_ascii=False)


def call_reply(call: ToolCall, index: int) -> dict[str, Any]:
    """A tool call in a message, or complete in a delta."""
    function = {"name": call.name, "arguments": arguments_text(call)}
    return {"index": index, "id": call_id(), "type": "function", "function": function}


def usage_reply(finishes: Iterable[GenerationFinished], thinking_tokens: int = 0) -> dict[str, Any]:
    """The usage of all choices; their prompt counts once, as with OpenAI."""
    all_finishes = list(finishes)
    prompt = max((finish.prompt_tokens for finish in all_finishes), default=0)
    return usage_of(prompt, sum(finish.answer_tokens for finish in all_finishes), all_finishes, thinking_tokens)


def usage_of(
    prompt_tokens: int, answer_tokens: int, finishes: Iterable[GenerationFinished], thinking_tokens: int = 0
) -> dict[str, Any]:
    """The usage: token counts with their details."""
    cached = max((finish.reused_tokens for finish in finishes), default=0)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": answer_tokens,
        "total_tokens": prompt_tokens + answer_tokens,
        "prompt_tokens_details": {"cached_tokens": min(cached, prompt_tokens)},
        "completion_tokens_details": {"reasoning_tokens": thinking_tokens},
    }


def score_reply(scored: ScoredToken) -> Mapping[str, Any]:
    """A token with its log-probability and the most likely alternatives."""
    return {**_token(scored.score), "top_logprobs": [_token(other) for other in scored.alternatives]}


def _token(score: TokenScore) -> dict[str, Any]:
    return {"token": score.text, "logprob": score.logprob, "bytes": list(score.data)}
