"""Fields of other servers that would change the answer but are not supported: refused unless their value is neutral."""

from __future__ import annotations

from typing import Annotated

from mlxbuild.runtime.server.bodies.request_body import RequestBody, refused


class RefusedFields(RequestBody):
    """The fields that chat completions and completions refuse; false and 0 are neutral unless others are given."""

    use_beam_search: Annotated[None, refused("there is no beam search: use `n` for several answers")] = None
    length_penalty: Annotated[None, refused("there is no beam search", 1)] = None
    allowed_token_ids: Annotated[None, refused("use a grammar, or `logit_bias`", [])] = None
    bad_words: Annotated[None, refused("use `logit_bias` for their tokens", [])] = None
    prompt_logprobs: Annotated[None, refused("log-probabilities of the prompt are not supported")] = None
    truncate_prompt_tokens: Annotated[None, refused("prompts are never truncated: send less")] = None
    include_stop_str_in_output: Annotated[None, refused("stop sequences are never part of an answer")] = None
    skip_special_tokens: Annotated[None, refused("special tokens have no text here", True)] = None
    logits_processors: Annotated[None, refused("requests cannot bring code", [])] = None
    typical_p: Annotated[None, refused("use `top_p` or `min_p`", 1)] = None
    xtc_probability: Annotated[None, refused("use `top_p` or `min_p`")] = None
    dry_multiplier: Annotated[None, refused("use `repetition_penalty`")] = None
    top_n_sigma: Annotated[None, refused("use `top_p` or `min_p`", -1)] = None
    dynatemp_range: Annotated[None, refused("use `temperature`")] = None
    mirostat: Annotated[None, refused("use `temperature` and `top_p`")] = None
    adapters: Annotated[None, refused("adapters are merged when a model is built")] = None
    lora: Annotated[None, refused("adapters are merged when a model is built", [])] = None
