"""Compiles grammars for trial: llguidance limits neither its time nor its stack, and grammars are untrusted.

Some small grammars compile for minutes, and a chain of some thousand rules overflows the stack. Converting GBNF takes
time cubic in the number of rules.
"""

from __future__ import annotations

import functools
from typing import Any

from mlxbuild.runtime.rendering.budget import BudgetExceeded
from mlxbuild.runtime.rendering.messages import Failure, TemplateFault

_BYTES = 256
_LONGEST_REASON = 200


class _Tokens:
    """A vocabulary of single bytes and of the model's special tokens; compiling needs no others."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, special_tokens: tuple[tuple[int, bytes], ...], rows: int) -> None:
        named = dict(special_tokens)
        pieces = (bytes([byte]) for byte in range(_BYTES))
        self.tokens = [named[token] if token in named else next(pieces, b"") for token in range(rows)]
        self.special_token_ids = sorted(named)
        self.eos_token_id = special_tokens[0][0]
        self._token_of = {piece: token for token, piece in enumerate(self.tokens) if token not in named}

    def __call__(self, text: str | bytes) -> list[int]:
        data = text.encode() if isinstance(text, str) else text
        return [self._token_of[byte] for byte in (data[place : place + 1] for place in range(len(data)))]


@functools.lru_cache(4)
def vocabulary(special_tokens: tuple[tuple[int, bytes], ...], rows: int) -> Any:
    """The vocabulary for which grammars are compiled."""
    from llguidance import LLTokenizer

    tokens: Any = _Tokens(special_tokens, max(rows, _BYTES + len(special_tokens)))
    return LLTokenizer(tokens, n_vocab=len(tokens.tokens), eos_token=[tokens.eos_token_id])


def compiling_fails(grammar: str, vocabulary: Any) -> str:
    """Compile a Lark grammar; returns llguidance's error message, or an empty string."""
    from llguidance import LLMatcher

    matcher = LLMatcher(vocabulary, LLMatcher.grammar_from_lark(grammar), log_level=0)
    return matcher.get_error() if matcher.is_error() else ""


def as_lark(grammar: str) -> str:
    """Convert a GBNF grammar to Lark; a Lark grammar is returned unchanged.

    Raises:
        Failure: it is neither.
    """
    from llguidance.gbnf_to_lark import any_to_lark

    try:
        return str(any_to_lark(grammar))
    except RecursionError:
        raise Failure(TemplateFault.BROKEN, "it nests too deeply") from None
    except (BudgetExceeded, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - it raises all kinds
        raise Failure(TemplateFault.BROKEN, str(error)[:_LONGEST_REASON]) from None
