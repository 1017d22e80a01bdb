"""A prepared request, the engine's input: tokens, options, and how to parse its answer. Made by `input.preparation`."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlxbuild.registry.core.errors import UserError
from mlxbuild.runtime.engine.core.constraint import Constraint
from mlxbuild.runtime.engine.core.options import Options
from mlxbuild.runtime.engine.output.answer_parser import AnswerSplitter


class PromptUnusable(UserError):
    """A prompt has no tokens, or some that the model does not know."""

    code = "prompt-unusable"


class ContextExceeded(PromptUnusable):
    """A prompt has more tokens than the context takes."""

    code = "context-exceeded"


@dataclass(frozen=True, slots=True)
class Prepared:
    """One request, to be used for one answer."""

    tokens: tuple[int, ...]
    """The tokens of the prompt, at least one."""
    options: Options = field(default_factory=Options)
    stop_tokens: frozenset[int] = frozenset()
    """Tokens that end the answer."""
    ignored_tokens: frozenset[int] = frozenset()
    """Stop tokens that are never sampled."""
    limit: int | None = None
    """Maximal number of answer tokens, by options and context length; None without a limit."""
    splitter: AnswerSplitter | None = None
    """None passes the text on as it is."""
    constraint: Constraint | None = None
    boundaries: tuple[int, ...] = ()
    """Numbers of prompt tokens after which other requests may continue differently; ascending."""
    wants_tokens: bool = False
