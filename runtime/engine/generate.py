"""The loop for a single answer: prefill, then token after token to text, until a stop. Chats live above it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from registry.errors import UserError
from runtime.engine.grammar import Constraint
from runtime.engine.markers import MarkerSearch
from runtime.engine.options import Options
from runtime.engine.prompt_cache import PromptCache
from runtime.engine.sampling import Sampler
from runtime.model.threads import leave_streams_in_order
from runtime.model.tokenizer import Tokenizer
from runtime.protocol.events import Ending, FinishReason, TokenScore

if TYPE_CHECKING:
    import mlx.core as mx

PREFILL_TOKENS = 2048
"""How many prompt tokens go through the model at once."""
_TOKENS_BETWEEN_CLEARINGS = 256


class PromptUnusable(UserError):
    """A prompt has no tokens, or more than the context takes."""

    code = "prompt-unusable"


@dataclass(frozen=True, slots=True)
class Piece:
    """What one token brought; the last piece has the ending, and no token."""

    text: str
    token: int | None = None
    score: TokenScore | None = None
    ending: Ending | None = None


def stream(
    model: Any,
    tokenizer: Tokenizer,
    prompt: Sequence[int],
    options: Options,
    *,
    stop_tokens: Sequence[int] = (),
    context_length: int | None = None,
    cache: PromptCache | None = None,
    constraint: Constraint | None = None,
) -> Iterator[Piece]:
    """Answer a prompt. A stop token has no text; a stop text is cut off, with what the model wrote after it.

    Ends with `length` after `max_tokens`, or when the context is full.

    Raises:
        PromptUnusable: before the first piece.
        FormLost: the answer cannot be held to the constraint any longer.
    """
    if not prompt:
        raise PromptUnusable("the prompt has no tokens")
    room = None if context_length is None else context_length - len(prompt)
    if room is not None and room < 1:
        raise PromptUnusable(
            f"the prompt has {len(prompt)} tokens, and the context takes {context_length}",
            hint="shorten the conversation",
        )
    limits = [limit for limit in (options.max_tokens, room) if limit is not None]
    limit = min(limits, default=None)
    return _pieces(model, tokenizer, list(prompt), options, frozenset(stop_tokens), limit, cache, constraint)


def _pieces(
    model: Any,
    tokenizer: Tokenizer,
    prompt: list[int],
    options: Options,
    stop_tokens: frozenset[int],
    limit: int | None,
    cache: PromptCache | None,
    constraint: Constraint | None,
) -> Iterator[Piece]:
    leave_streams_in_order()
    cache = cache or PromptCache(model)
    layers, reused = cache.take(prompt)
    began = first = time.perf_counter()
    detokenizer, search = tokenizer.detokenizer(), MarkerSearch(options.stops)
    reason: FinishReason = "length"
    answer: list[int] = []
    marker: str | None = None
    fed = prompt[:reused]
    sampler = Sampler(options, prompt)
    tokens = _tokens(model, layers, prompt[reused:], sampler, limit, options.logprobs, fed, constraint)
    for token, logprob in tokens:
        if not answer:
            first = time.perf_counter()
        answer.append(token)
        if token in stop_tokens:
            reason = "stop"
            break
        text, marker = search.feed(detokenizer.add(token))
        score = None if logprob is None else TokenScore(token, *tokenizer.piece(token), logprob)
        yield Piece(text, token, score)
        if marker is not None:
            reason = "stop"
            break
    rest = ""
    if marker is None:
        rest, marker = search.feed(detokenizer.finish())
        rest += search.finish() if marker is None else ""
    cache.keep(layers, fed)
    now = time.perf_counter()
    ending = Ending(reason, len(prompt), reused, len(answer), first - began, now - first, stop=marker)
    yield Piece(rest, ending=ending)


def _tokens(
    model: Any,
    layers: list[Any],
    prompt: list[int],
    sampler: Sampler,
    limit: int | None,
    with_logprob: bool,
    fed: list[int],
    constraint: Constraint | None,
) -> Iterator[tuple[int, float | None]]:
    """Tokens and their log-probabilities; the next step is under way while a token is looked at.

    Under a constraint it is not, as what may come next depends on the token. `fed` grows by every token that has gone
    through the model into the layer caches.
    """
    import mlx.core as mx

    def step(tokens: mx.array) -> tuple[mx.array, mx.array | None]:
        logits = model(tokens[None], cache=layers)[:, -1, :]
        if constraint is not None:
            mx.async_eval(logits)  # type: ignore[no-untyped-call]
            logits = constraint.mask(logits)
        chosen, logprobs = sampler(logits)
        logprob = mx.take_along_axis(logprobs, chosen[:, None], axis=-1) if with_logprob else None
        mx.async_eval([chosen] if logprob is None else [chosen, logprob])  # type: ignore[no-untyped-call]
        return chosen, logprob

    waiting = mx.array(prompt)
    while waiting.size > 1:
        part = waiting[: min(PREFILL_TOKENS, waiting.size - 1)]
        model(part[None], cache=layers)
        mx.eval([layer.state for layer in layers])
        waiting = waiting[part.size :]
        mx.clear_cache()
    chosen, logprob = step(waiting)
    fed += prompt
    count = 0
    while True:
        count += 1
        last = count == limit
        following = None if last or constraint is not None else step(chosen)
        token = cast(int, chosen.item())
        if following is not None:
            fed.append(token)
        if constraint is not None:
            constraint.advance(token)
        yield token, None if logprob is None else cast(float, logprob.item())
        if last:
            return
        if following is None:
            following = step(chosen)
            fed.append(token)
        chosen, logprob = following
        if count % _TOKENS_BETWEEN_CLEARINGS == 0:
            mx.clear_cache()
