"""Constrains an answer to a grammar, token by token, with llguidance. The grammar is built in `answer_grammar`."""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mlxbuild.registry.core.cancellation import checkpoint
from mlxbuild.registry.core.errors import UserError
from mlxbuild.runtime.engine.structured_output.errors import MAKE_DISJOINT, FormatNotSupported
from mlxbuild.runtime.engine.structured_output.trial import compiling_fails
from mlxbuild.runtime.model.facts import ModelFacts
from mlxbuild.runtime.model.tokenizer import Tokenizer

if TYPE_CHECKING:
    import mlx.core as mx


_EXCERPT = re.compile(r"\n<state>|\n +\d+ \| ")
_PLACE = re.compile(r"^at \d+\(\d+\): (failed to compile JSON schema: )?")


class ConstraintFailed(UserError):
    """During generation, the grammar became too large or allowed no further token."""

    code = "form-lost"


class GrammarVocabulary:
    """The vocabulary of one model for grammars. Creating it takes up to a second. Thread-safe."""

    def __init__(self, tokenizer: Tokenizer, facts: ModelFacts) -> None:
        """Stop tokens and the markers in the facts are not text: they occur only where a grammar names them.

        Raises:
            FormatNotSupported: the model has no stop token, so nothing could end a complete answer.
        """
        from llguidance import LLTokenizer

        rows = max(facts.vocabulary_size, tokenizer.vocabulary_size)
        markers = {facts.think_start, facts.think_end, facts.tool_call_start, facts.tool_call_end}
        stops = [token for token in facts.stop_token_ids if token < rows]
        if not stops:
            raise FormatNotSupported("the model has no stop token, so it cannot be used for structured output")
        control = {number for number, text in tokenizer.added_tokens().items() if text in markers}
        self._tokenizer = tokenizer
        self._control = frozenset({*control, *tokenizer.control_tokens(), *stops})
        self.call_end = facts.tool_call_end
        """The end marker of a tool call, which strings inside the call must not contain."""
        self._rows = rows
        self._special_tokens = tuple(
            (token, tokenizer.piece(token)[1]) for token in dict.fromkeys((stops[0], *sorted(self._control)))
        )
        self._backend = LLTokenizer(
            _Tokens(tokenizer, rows, self._control, stops[0]),  # type: ignore[arg-type]
            n_vocab=rows,
            eos_token=stops,
        )

    def marker(self, text: str) -> str:
        """A text that may contain control tokens, as an expression of a Lark grammar."""
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
        """Compile a Lark grammar for one answer, after a trial. May take a second or two, and holds no lock.

        Raises:
            FormatNotSupported: llguidance does not compile it, for the reason in the message, or takes too long.
        """
        from llguidance import LLMatcher

        checkpoint()
        _require_compiled(compiling_fails(grammar, self._special_tokens, self._rows))
        checkpoint()
        matcher = LLMatcher(self._backend, LLMatcher.grammar_from_lark(grammar), log_level=0)
        _require_compiled(matcher.get_error())
        return GrammarConstraint(matcher)

    def check_document(self, schema: str) -> None:
        """Check that a schema prepared for llguidance compiles, and has a first token.

        Raises:
            FormatNotSupported: llguidance does not compile it, or no document is valid.
        """
        try:
            self.constrain(f"start: %json {schema}")._allowed()
        except ConstraintFailed:
            raise FormatNotSupported(
                "no document is valid for the schema", hint="does it refer to itself without end?"
            ) from None


def _require_compiled(failure: str) -> None:
    if failure:
        if "coerce_one_of" in (reason := _reason(failure)):
            raise FormatNotSupported("the parts of a `oneOf` may overlap", hint=MAKE_DISJOINT)
        raise FormatNotSupported(f"structured output cannot be enforced for this request: {reason}")


class GrammarConstraint:
    """The state of a grammar in one answer; a `Constraint`. Not thread-safe."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def mask(self, logits: mx.array) -> mx.array:
        """The logits (shape [..., V]) with minus infinity for all tokens that are not allowed. Evaluates nothing.

        Call it while the model is computing the logits, so that the mask is built in parallel.

        Raises:
            FormLost: no token is allowed.
        """
        import mlx.core as mx
        import numpy

        bits = mx.array(numpy.frombuffer(self._allowed(), numpy.uint8))
        allowed = ((bits[:, None] >> mx.arange(8, dtype=mx.uint8)) & 1).reshape(-1)
        missing = logits.shape[-1] - allowed.size
        allowed = mx.pad(allowed, (0, missing)) if missing > 0 else allowed[: logits.shape[-1]]
        return mx.where(allowed.astype(mx.bool_), logits, mx.array(-mx.inf, dtype=logits.dtype))

    def advance(self, token: int) -> None:
        """Accept the sampled token, which may be a stop token.

        Raises:
            FormLost: the token is not allowed.
        """
        if not self._matcher.consume_token(token):
            raise self._lost("left its response format")

    def _allowed(self) -> bytes:
        """A bit mask of the allowed tokens, lowest bit first."""
        mask: bytes = self._matcher.compute_bitmask()
        if self._matcher.is_error():  # the mask then has the stop tokens only
            raise self._lost("cannot go on in its response format")
        return mask

    def _lost(self, what: str) -> ConstraintFailed:
        return ConstraintFailed(
            f"the answer {what}: {_reason(self._matcher.get_error())}",
            hint="ask for a simpler form: fewer or shorter repetitions in a `pattern`, fewer properties at once",
        )


def literal(text: str) -> str:
    """A text as an expression of a Lark grammar."""
    return json.dumps(text, ensure_ascii=False)


class _Tokens:
    """The tokenizer interface of llguidance."""

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
        """Tokenize a text that spells a control token with other tokens: each is the longest that fits."""
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
    """llguidance's message, without the excerpt of a grammar that the user did not write."""
    told = " ".join(_EXCERPT.split(message, maxsplit=1)[0].split())
    return _PLACE.sub("", told)[:300] or "no token fits"
