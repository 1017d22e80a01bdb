"""What a caller may set for one answer, such as sampling options, with validation. Defaults are in `input.defaults`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.core.suggestions import did_you_mean

MOST_DRAFT_TOKENS = 16


class InvalidOption(UserError):
    """An option has an unknown name or a value out of its range."""

    code = "invalid-option"


@dataclass(frozen=True, slots=True)
class Options:
    """Sampling options and limits of one answer. The defaults are greedy sampling.

    Filters are applied in mlx-lm's order: top_p, min_p, top_k, each on the probabilities before temperature.

    Raises:
        InvalidOption: a value is out of its range.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    """0 keeps all tokens."""
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    """To how many of the last tokens, prompt included, the penalty applies; -1 for all, 0 for none."""
    presence_penalty: float = 0.0
    """Subtracted once from the logits of each token that the answer already has."""
    frequency_penalty: float = 0.0
    """Subtracted from the logits of a token for each of its occurrences in the answer."""
    counts_recent: bool = False
    """Whether these two penalties count the last `repeat_last_n` tokens, prompt included, instead of the whole answer.
    """
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the logits of tokens, by token id."""
    seed: int | None = None
    """None takes a new one for each answer."""
    max_tokens: int | None = None
    """None allows as many as the context has room for."""
    min_tokens: int = 0
    """Until an answer has that many tokens, only `max_tokens` and the context length end it."""
    ignore_eos: bool = False
    """Whether the model's own stop tokens are never sampled."""
    stop_token_ids: tuple[int, ...] = ()
    """Tokens that end an answer in addition to the model's own."""
    stops: tuple[str, ...] = ()
    logprobs: bool = False
    """Whether chunks have the log-probability of their token."""
    top_logprobs: int = 0
    """How many of the most likely tokens chunks have in addition."""
    kv_bits: int | None = None
    """Quantize keys and values to that many bits: longer contexts in the same memory, but such answers are not batched.

    0 does not quantize; None does not either, unless the model was loaded with another default.
    """
    draft_tokens: int = 4
    """How many tokens a draft model proposes at once, if there is one and the answer is computed alone; 0 for none."""

    def __post_init__(self) -> None:
        checks = {
            "temperature": 0 <= self.temperature <= 10,
            "top_p": 0 < self.top_p <= 1,
            "top_k": self.top_k >= 0,
            "min_p": 0 <= self.min_p <= 1,
            "repeat_penalty": 0 < self.repeat_penalty <= 10,
            "repeat_last_n": self.repeat_last_n >= -1,
            "presence_penalty": -2 <= self.presence_penalty <= 2,
            "frequency_penalty": -2 <= self.frequency_penalty <= 2,
            "logit_bias": all(token >= 0 and abs(bias) <= 100 for token, bias in self.logit_bias.items()),
            "seed": self.seed is None or 0 <= self.seed < 2**64,
            "max_tokens": self.max_tokens is None or self.max_tokens >= 1,
            "min_tokens": self.min_tokens >= 0,
            "stops": all(isinstance(text, str) and text for text in self.stops),
            "top_logprobs": 0 <= self.top_logprobs <= 20,
            "draft_tokens": 0 <= self.draft_tokens <= MOST_DRAFT_TOKENS,
            "kv_bits": self.kv_bits in (None, 0, 2, 3, 4, 5, 6, 8),
        }
        for name, holds in checks.items():
            if not holds:
                raise InvalidOption(f"{name} cannot be {_written(getattr(self, name))}", hint=_RANGES[name])

    def changed(self, options: Mapping[str, Any]) -> Options:
        """The options with some values replaced; None leaves a value as it is.

        Raises:
            InvalidOption: an unknown name, a wrong type, or a value out of its range.
        """
        given = {name: value for name, value in options.items() if value is not None}
        for name in given:
            if name not in _NAMES:
                hint = did_you_mean(name, _NAMES) or f"there are: {', '.join(_NAMES)}"
                raise InvalidOption(f"there is no option `{name}`", hint=hint)
        try:
            if "stops" in given:
                given["stops"] = (given["stops"],) if isinstance(given["stops"], str) else tuple(given["stops"])
            if "stop_token_ids" in given:
                given["stop_token_ids"] = tuple(given["stop_token_ids"])
            if "logit_bias" in given:  # keys are strings in JSON
                given["logit_bias"] = {int(token): float(bias) for token, bias in given["logit_bias"].items()}
            return replace(self, **given)
        except (TypeError, ValueError, AttributeError) as error:
            raise InvalidOption(f"an option has a value of a wrong type: {error}") from None


def _written(value: Any) -> str:
    """A value as it is written in recipes and requests."""
    return json.dumps(dict(value) if isinstance(value, Mapping) else value, ensure_ascii=False, default=str)


_NAMES = tuple(field.name for field in fields(Options))
_RANGES = {
    "temperature": "between 0 and 10",
    "top_p": "above 0, at most 1",
    "top_k": "0 or more",
    "min_p": "between 0 and 1",
    "repeat_penalty": "above 0, at most 10",
    "repeat_last_n": "-1 for all, 0 for none, or a number of tokens",
    "presence_penalty": "between -2 and 2",
    "frequency_penalty": "between -2 and 2",
    "logit_bias": "token ids, each with a number between -100 and 100",
    "seed": "0 or more, below 2**64",
    "max_tokens": "1 or more",
    "min_tokens": "0 or more",
    "stops": "texts that are not empty",
    "top_logprobs": "between 0 and 20",
    "draft_tokens": f"between 0 and {MOST_DRAFT_TOKENS}",
    "kv_bits": "2, 3, 4, 5, 6 or 8; 0 for none",
}
