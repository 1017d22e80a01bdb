"""The state of one request inside the engine: its options, tokens so far and receiver. A `batch` has many of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlxbuild.runtime.engine.core.logits_processors import Penalties
from mlxbuild.runtime.engine.core.output_processor import AnswerWriter
from mlxbuild.runtime.engine.core.prepared_request import Prepared
from mlxbuild.runtime.engine.core.sampling import Sampler
from mlxbuild.runtime.model.tokenizer import Tokenizer
from mlxbuild.runtime.protocol.events import Event

Deliver = Callable[[Sequence[Event]], None]
"""Receives the events of one request from one iteration. It is called on the engine's thread and must not block."""


class SequenceState:
    """The state of one sequence: the request, its tokens, its logits processors and sampler, and how far it is
    computed.
    """

    def __init__(self, prepared: Prepared, deliver: Deliver, tokenizer: Tokenizer) -> None:
        self.prepared = prepared
        self.deliver = deliver
        self.writer = AnswerWriter(tokenizer, prepared)
        self.sampler = Sampler(prepared.options)
        self.penalties: Penalties | None = None
        """Logits processors, created on the engine's thread when prefill starts."""
        self.tokens = list(prepared.tokens)
        """Prompt and answer, as far as their values are known."""
        self.failure: Exception | None = None
        """The error that ends this sequence; others go on."""
        self.cached_tokens = 0
        """How many of the tokens are in the KV cache, or are being computed into it."""
        self.is_drafted = False
        """Whether the answer is decoded with a draft model."""

    def tell(self, events: Sequence[Event]) -> None:
        """Deliver events; if that fails, the sequence fails, as nobody receives the answer."""
        try:
            self.deliver(events)
        except Exception as error:  # noqa: BLE001 - whatever it is, other sequences go on
            self.failure = error

    @property
    def kind(self) -> str:
        """Form of the KV cache. Only sequences of kind "" are batched, and prefixes are shared within a kind only."""
        bits = self.prepared.options.kv_bits
        return " ".join(filter(None, ("drafted" if self.is_drafted else "", f"{bits} bits" if bits else "")))

    @property
    def is_known(self) -> bool:
        """Whether the next token read from the batch is already in `tokens`, as the sequence has just joined."""
        return self.cached_tokens < len(self.tokens)

    @property
    def ends_with_next(self) -> bool:
        """Whether the next token read is certainly the last one."""
        return not self.is_known and self.writer.answer_tokens + 1 == self.writer.limit

    def begin(self, reused_tokens: int) -> None:
        """Start prefill with the tokens that are not in the prefix cache.

        This is the first start, or a return after a preemption.
        """
        self.cached_tokens = reused_tokens
        answered = self.writer.answer_tokens
        if not answered:
            self.writer.begin(reused_tokens)
        self.sampler.go_to(answered)
        self.penalties = Penalties.of(self.prepared, self.tokens, answer_tokens=answered)
