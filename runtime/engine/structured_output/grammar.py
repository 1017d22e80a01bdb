"""Holds an answer to a grammar, token by token, through llguidance. Which grammar: `answer_grammar`."""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mlxbuild.registry.core.errors import UserError
from mlxbuild.runtime.engine.structured_output.errors import TELLING_APART, FormatNotSupported
from mlxbuild.runtime.model.facts import ModelFacts
from mlxbuild.runtime.model.tokenizer import Tokenizer

if TYPE_CHECKING:
    import mlx.core as mx


_EXCERPT = re.compile(r"\n<state>|\n +\d+ \| ")
_PLACE = re.compile(r"^at \d+\(\d+\): (failed to compile JSON schema: )?")


class FormLost(UserError):
    """A form became too large, or ran into a dead end, while an answer was written."""

    code = "form-lost"


class GrammarVocabulary:
    """The tokens of one model as grammars see them. Takes up to a second to make; for any thread."""

    def __init__(self, tokenizer: Tokenizer, facts: ModelFacts) -> None:
        """Stop tokens and markers of the facts are no text: they stand only where a grammar names them.

        Raises:
            FormatNotSupported: the model has no stop token, so nothing could end a complete answer.
        """
        from llguidance import LLTokenizer

        rows = max(facts.vocabulary_size, tokenizer.vocabulary_size)
        markers = {facts.think_start, facts.think_end, facts.tool_call_start, facts.tool_call_end}
        stops = [token for token in facts.stop_token_ids if token < rows]
        if not stops:
            raise FormatNotSupported("the model has no stop token, so its answers cannot be held to a form")
        control = {number for number, text in tokenizer.added_tokens().items() if text in markers}
        self._tokenizer = tokenizer
        self._control = frozenset({*control, *tokenizer.control_tokens(), *stops})
        self.call_end = facts.tool_call_end
        """What ends a tool call: none of its texts may spell it."""
        self._backend = LLTokenizer(
            _Tokens(tokenizer, rows, self._control, stops[0]),  # type: ignore[arg-type]
            n_vocab=rows,
            eos_token=stops,
        )

    def marker(self, text: str) -> str:
        """A text with control tokens in it, as an expression of a Lark grammar."""
        tokens = self._tokenizer.encode(text)
        if self._control.isdisjoint(tokens):
            return literal(text) if text else ""
        parts: list[str] = []
        plain: list[int] = []
        for token in [*tokens, None]:
            if token is not None and token not in self._control:
                plain.append(token)
                continue
            if plain:
                parts.append(literal(self._tokenizer.decode(plain)))
                plain = []
            if token is not None:
                parts.append(f"<[{token}]>")
        return " ".join(parts)

    def constrain(self, grammar: str) -> GrammarConstraint:
        """Compile a Lark grammar for one answer. May take long; holds no lock.

        Raises:
            FormatNotSupported: llguidance does not compile it; the message has its reason.
        """
        from llguidance import LLMatcher

        matcher = LLMatcher(self._backend, LLMatcher.grammar_from_lark(grammar), log_level=0)
        if matcher.is_error():
            if "coerce_one_of" in (reason := _reason(matcher.get_error())):
                raise FormatNotSupported("the parts of a `oneOf` may overlap", hint=TELLING_APART)
            raise FormatNotSupported(f"the answer cannot be held to this form: {reason}")
        return GrammarConstraint(matcher)

    def check_document(self, schema: str) -> None:
        """Whether a schema in llguidance's form can be held to, and a document can begin.

        Raises:
            FormatNotSupported: llguidance does not compile it, or nothing fits it.
        """
        try:
            self.constrain(f"start: %json {schema}")._allowed()
        except FormLost:
            raise FormatNotSupported("nothing fits the schema", hint="does it refer to itself without end?") from None


class GrammarConstraint:
    """What one answer may still be: the `Constraint` of a grammar. For one thread at a time."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def mask(self, logits: mx.array) -> mx.array:
        """The logits (shape [..., V]) with all tokens that cannot come next at minus infinity. Evaluates nothing.

        Call it when the model is already at work on the logits: the mask is found meanwhile.

        Raises:
            FormLost: no token can come next.
        """
        import mlx.core as mx
        import numpy

        bits = mx.array(numpy.frombuffer(self._allowed(), numpy.uint8))
        allowed = ((bits[:, None] >> mx.arange(8, dtype=mx.uint8)) & 1).reshape(-1)
        missing = logits.shape[-1] - allowed.size
        allowed = mx.pad(allowed, (0, missing)) if missing > 0 else allowed[: logits.shape[-1]]
        return mx.where(allowed.astype(mx.bool_), logits, mx.array(-mx.inf, dtype=logits.dtype))

    def advance(self, token: int) -> None:
        """Take the token that was chosen, a stop token or not.

        Raises:
            FormLost: it is none of those that could come.
        """
        if not self._matcher.consume_token(token):
            raise self._lost("left its form")

    def _allowed(self) -> bytes:
        """One bit for each token that can come next, the first one lowest."""
        mask: bytes = self._matcher.compute_bitmask()
        if self._matcher.is_error():  # the mask is that of the stop tokens then
            raise self._lost("cannot go on in its form")
        return mask

    def _lost(self, what: str) -> FormLost:
        return FormLost(
            f"the answer {what}: {_reason(self._matcher.get_error())}",
            hint="ask for a simpler form: fewer or shorter repetitions in a `pattern`, fewer properties at once",
        )


def literal(text: str) -> str:
    """A text as an expression of a Lark grammar."""
    return json.dumps(text, ensure_ascii=False)


class _Tokens:
    """What llguidance asks of a tokenizer."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, rows: int, control: frozenset[int], stop: int) -> None:
        self.tokens = [tokenizer.piece(token)[1] for token in range(rows)]
        self.special_token_ids = sorted(control)
        self.eos_token_id = stop
        self._control = control
        self._encode = tokenizer.encode

    def __call__(self, text: str | bytes) -> list[int]:
        tokens = self._encode(text if isinstance(text, str) else text.decode(errors="replace"))
        return tokens if self._control.isdisjoint(tokens) else self._spelled(text)

    @cached_property
    def _plain(self) -> dict[bytes, int]:
        return {piece: token for token, piece in enumerate(self.tokens) if piece and token not in self._control}

    def _spelled(self, text: str | bytes) -> list[int]:
        """A text that says what a control token stands for, in other tokens: always the longest that fits."""
        data, tokens = text.encode() if isinstance(text, str) else text, list[int]()
        longest = max(map(len, self._plain))
        while data:
            length = next((size for size in range(min(longest, len(data)), 0, -1) if data[:size] in self._plain), 0)
            if not length:
                break
            tokens.append(self._plain[data[:length]])
            data = data[length:]
        return tokens


def _reason(message: str) -> str:
    """llguidance's own words, without the lines of a grammar that nobody else has seen."""
    told = " ".join(_EXCERPT.split(message, maxsplit=1)[0].split())
    return _PLACE.sub("", told)[:300] or "no token fits"
