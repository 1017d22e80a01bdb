"""OpenAI's sampling fields and their translation to the engine's options; the artifact's defaults apply to the rest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from mlxbuild.runtime.engine.core.options import MOST_DRAFT_TOKENS
from mlxbuild.runtime.server.bodies.request_body import RequestBody
from mlxbuild.runtime.server.failures import InvalidRequest
from mlxbuild.runtime.server.inference.options import NO_BOUND, NativeOptions, OptionOfWrongType, read_options
from mlxbuild.runtime.server.openai.passed_over_fields import PassedOverFields
from mlxbuild.runtime.server.openai.texts import Token


def _not_zero(tokens: int) -> int:
    if tokens == 0:
        raise PydanticCustomError("refused", "an answer has at least one token; -1 sets no bound")
    return tokens


TokenText = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
Bias = Annotated[float, Field(ge=-100, le=100)]
MaxTokens = Annotated[int, Field(ge=-1), AfterValidator(_not_zero)]
"""A maximum number of tokens; -1 means no limit."""
_SEEDS = 2**64


class SamplingBody(PassedOverFields):
    """The fields that chat completions, completions and responses share."""

    model: Annotated[str, Field(min_length=1)]
    stream: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    user: str | None = None
    """Accepted, and ignored."""
    top_k: Annotated[int, Field(ge=0)] | None = None
    """An extension, as are the following fields."""
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    repeat_last_n: Annotated[int, Field(ge=-1)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0, le=10)] | None = None
    """vLLM's name of `repeat_penalty`, over prompt and answer unless a window is given; 0 means none, as in mlx_lm."""
    repetition_context_size: Annotated[int, Field(ge=0)] | None = None
    """mlx_lm's name of `repeat_last_n`."""
    min_tokens: Annotated[int, Field(ge=0)] | None = None
    ignore_eos: bool | None = None
    """The answer only ends at `max_tokens`, a stop sequence or the end of the context."""
    stop_token_ids: list[Token] | None = None
    num_draft_tokens: Annotated[int, Field(ge=0, le=MOST_DRAFT_TOKENS)] | None = None
    ttl: Annotated[float, Field(ge=0)] | None = None
    """LM Studio's name of `keep_alive`, in seconds."""
    keep_alive: float | str | None = None
    """How long the model stays in memory afterwards, as seconds or a string such as `5m`."""
    num_ctx: Annotated[int, Field(ge=1)] | None = None
    """A smaller context than the model's, in tokens."""
    options: dict[str, Any] | None = None
    """Options of the native API; the request's own fields take precedence."""

    def sampling(self) -> dict[str, Any]:
        """The engine's options that these fields set.

        Raises:
            InvalidRequest, NotSupported: something in `options` is wrong.
        """
        return dict(self._native().options) | given(
            temperature=self.temperature,
            top_p=self.top_p or None,
            top_k=1 if self.top_p == 0 else self.top_k,  # only the most likely token is left
            min_p=self.min_p,
            min_tokens=self.min_tokens or None,
            ignore_eos=self.ignore_eos or None,
            stop_token_ids=tuple(self.stop_token_ids) if self.stop_token_ids else None,
            draft_tokens=self.num_draft_tokens,
            **self._repetition(),
        )

    def stays(self) -> float | str | None:
        """The keep-alive, by either name."""
        return self.ttl if self.keep_alive is None else self.keep_alive

    def _repetition(self) -> dict[str, Any]:
        window = self.repetition_context_size if self.repeat_last_n is None else self.repeat_last_n
        if self.repeat_penalty is not None or self.repetition_penalty is None:
            return {"repeat_penalty": self.repeat_penalty, "repeat_last_n": window}
        return {"repeat_penalty": self.repetition_penalty or 1.0, "repeat_last_n": -1 if window is None else window}

    def context_tokens(self) -> int | None:
        """The requested context length."""
        return self.num_ctx or self._native().context_tokens

    def _native(self) -> NativeOptions:
        try:
            return read_options(self.options or {})
        except OptionOfWrongType as error:
            raise InvalidRequest(error.message, where=str(error.where)) from None


class PenaltiesBody(SamplingBody):
    """Further fields that chat completions and completions share."""

    stop: str | list[str] | None = None
    """The stop sequences; empty strings are ignored, and an empty list keeps the artifact's own."""
    n_predict: MaxTokens | None = None
    """llama.cpp's name of `max_tokens`, which takes precedence."""
    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)] | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    logit_bias: dict[TokenText, Bias] | None = None
    """The biases that are added to logits, by token id."""

    def sampling(self) -> dict[str, Any]:
        stops = [self.stop] if isinstance(self.stop, str) else self.stop
        return super().sampling() | given(
            stops=tuple(filter(None, stops or ())) or None,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            logit_bias={int(token): bias for token, bias in self.logit_bias.items()} if self.logit_bias else None,
        )

    def seeds(self) -> list[int | None]:
        """The seeds of the choices, counting up from the given one."""
        count = self.n or 1
        return [None if self.seed is None else (self.seed + number) % _SEEDS for number in range(count)]


class StreamOptions(RequestBody):
    """The options of a stream."""

    include_usage: bool | None = None


def bound(*tokens: int | None) -> int | None:
    """The first maximum length of the answer that is given; -1 means no limit, as in LM Studio and llama.cpp."""
    first = next((each for each in tokens if each is not None), None)
    return NO_BOUND if first == -1 else first


def given(**options: Any) -> dict[str, Any]:
    """The options that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def with_seed(options: Mapping[str, Any], seed: int | None) -> dict[str, Any]:
    """The options of one choice, with its seed."""
    return {**options, **given(seed=seed)}
