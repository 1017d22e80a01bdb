"""Compiles grammars for trial in a renderer process, which can be killed and may crash, before this process does."""

from __future__ import annotations

import functools

from mlxbuild.runtime.engine.structured_output.errors import FormatNotSupported
from mlxbuild.runtime.engine.structured_output.json_schema import LONGEST_SCHEMA
from mlxbuild.runtime.rendering import standing
from mlxbuild.runtime.rendering.limits import Limits
from mlxbuild.runtime.rendering.messages import AnyRequest, Compilation, Conversion, Failure, TemplateFault

_LIMITS = Limits()
_SIMPLER = "simplify it: fewer rules, properties and patterns, and smaller numbers"


@functools.lru_cache(16)
def compiling_fails(grammar: str, special_tokens: tuple[tuple[int, bytes], ...], rows: int) -> str:
    """llguidance's error message for a Lark grammar, or an empty string; `Compilation` documents the arguments.

    Raises:
        FormatNotSupported: compiling takes too long, or crashes.
        RendererLost: the renderer process could not be started.
    """
    try:
        return _asked(Compilation(grammar, special_tokens, rows, _LIMITS))
    except Failure as failure:
        raise FormatNotSupported(
            f"structured output cannot be enforced for this request: {failure.message}", hint=_SIMPLER
        ) from None


def as_lark(grammar: str) -> str:
    """Convert a caller's GBNF grammar to Lark; a Lark grammar is returned unchanged.

    Raises:
        FormatNotSupported: it is neither, too long, or takes too long.
        RendererLost: the renderer process could not be started.
    """
    if len(grammar) > LONGEST_SCHEMA:
        raise FormatNotSupported(f"the grammar has {len(grammar):,} characters, above {LONGEST_SCHEMA:,}")
    try:
        return _asked(Conversion(grammar, _LIMITS))
    except Failure as failure:
        raise FormatNotSupported(f"the grammar is neither GBNF nor Lark: {failure.message}") from None


def _asked(request: AnyRequest) -> str:
    try:
        return str(standing.ask(request))
    except Failure as failure:
        if failure.fault is not TemplateFault.COSTLY:
            raise
        raise FormatNotSupported(
            f"the grammar takes more than {_LIMITS.seconds:g} s of processor time, or too much memory, to compile",
            hint=_SIMPLER,
        ) from None
