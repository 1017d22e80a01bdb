"""A request as the engine takes it: tokens, options, and how to read its answer. Made by `input.preparation`."""

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
    """One request. Good for one answer."""

    tokens: tuple[int, ...]
    """At least one."""
    options: Options = field(default_factory=Options)
    stop_tokens: frozenset[int] = frozenset()
    """Any of them ends the answer."""
    ignored_tokens: frozenset[int] = frozenset()
    """Stop tokens that the answer is never to have."""
    limit: int | None = None
    """Answer tokens at most, as options and context allow; None where nothing bounds them."""
    splitter: AnswerSplitter | None = None
    """None leaves the text whole."""
    constraint: Constraint | None = None
    boundaries: tuple[int, ...] = ()
    """Numbers of prompt tokens after which another request may go on differently; ascending."""
    wants_tokens: bool = False
