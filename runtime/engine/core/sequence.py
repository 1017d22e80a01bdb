"""One request inside the engine: what it asked, what it has so far, and who is told. Batches of them: `batch`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlxbuild.runtime.engine.core.logits_processors import Penalties
from mlxbuild.runtime.engine.core.output_processor import AnswerWriter
from mlxbuild.runtime.engine.core.prepared_request import Prepared
from mlxbuild.runtime.engine.core.sampling import RowSampler
from mlxbuild.runtime.model.tokenizer import Tokenizer
from mlxbuild.runtime.protocol.events import Event

Deliver = Callable[[Sequence[Event]], None]
"""Takes the events of one request that one iteration brought. It is called on the engine's thread and must not wait."""


class SequenceState:
    """An answer on its way."""

    def __init__(self, prepared: Prepared, deliver: Deliver, tokenizer: Tokenizer) -> None:
        self.prepared = prepared
        self.deliver = deliver
        self.writer = AnswerWriter(tokenizer, prepared)
        self.sampler = RowSampler(prepared.options)
        self.penalties: Penalties | None = None
        """Made on the engine's thread, when the row begins."""
        self.tokens = list(prepared.tokens)
        """Prompt and answer, as far as tokens have been read."""
        self.failure: Exception | None = None
        """What keeps this row, and no other, from going on."""
        self.cached_tokens = 0
        """How many of them have gone, or are going, through the model into the KV caches."""
        self.is_drafted = False
        """Whether a smaller model drafts the answer."""

    def tell(self, events: Sequence[Event]) -> None:
        """Have events delivered; if that fails, nobody wants the answer any more."""
        try:
            self.deliver(events)
        except Exception as error:  # noqa: BLE001 - whatever it is, other rows go on
            self.failure = error

    @property
    def kind(self) -> str:
        """Rows and prefixes of one kind have KV caches of one form; only those of kind "" are computed together."""
        bits = self.prepared.options.kv_bits
        return " ".join(filter(None, ("drafted" if self.is_drafted else "", f"{bits} bits" if bits else "")))

    @property
    def is_known(self) -> bool:
        """Whether the next token that is read from the batch is one that the row has: it has just joined."""
        return self.cached_tokens < len(self.tokens)

    @property
    def ends_with_next(self) -> bool:
        """Whether the next token that is read is the last one for certain."""
        return not self.is_known and self.writer.answer_tokens + 1 == self.writer.limit

    def begin(self, reused_tokens: int) -> None:
        """The tokens go through the model from now on, but for those that the prefix cache had.

        That is the beginning, or going on after the row had to wait in the middle of its answer.
        """
        self.cached_tokens = reused_tokens
        answered = self.writer.answer_tokens
        if not answered:
            self.writer.begin(reused_tokens)
        self.sampler.go_to(answered)
        self.penalties = Penalties.of(self.prepared, self.tokens, answer_tokens=answered)
