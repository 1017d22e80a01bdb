"""Fields of other servers that do not change the answer: any value is accepted and ignored."""

from __future__ import annotations

from typing import Any

from mlxbuild.runtime.server.bodies.request_body import RequestBody


class PassedOverFields(RequestBody):
    """The fields that chat completions, completions and responses ignore; docs/openai.md has the reasons."""

    draft_model: Any = None
    guided_decoding_backend: Any = None
    guided_whitespace_pattern: Any = None
    spaces_between_special_tokens: Any = None
    add_special_tokens: Any = None
    include_reasoning: Any = None
    reasoning_format: Any = None
    thinking_token_budget: Any = None
    priority: Any = None
    request_id: Any = None
    cache_salt: Any = None
    cache_prompt: Any = None
    id_slot: Any = None
    samplers: Any = None
    t_max_predict_ms: Any = None
    timings_per_token: Any = None
    return_progress: Any = None
