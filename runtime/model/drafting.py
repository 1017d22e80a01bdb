"""Whether one model can draft for another: it writes, and has the same tokens. How it does: `engine.speculation`."""

from __future__ import annotations

from mlxbuild.registry.core.errors import UserError
from mlxbuild.runtime.model.facts import ModelFacts
from mlxbuild.runtime.model.tokenizer import Tokenizer


class DraftUnusable(UserError):
    """A model cannot draft for another one."""

    code = "draft-unusable"


def require_writing(draft: ModelFacts, where: str) -> None:
    """Refuse a draft that writes nothing; `where` is the draft.

    Raises:
        DraftUnusable: it was made to embed.
    """
    if draft.embedding is not None:
        raise DraftUnusable("the draft model only turns texts into vectors", where=where, hint=_HINT)


def require_same_tokens(draft: Tokenizer, model: Tokenizer, where: str) -> None:
    """Refuse a draft whose tokens are not those of the model; `where` is the draft.

    Raises:
        DraftUnusable: they are not.
    """
    if draft.vocabulary() != model.vocabulary():
        raise DraftUnusable("the draft model has other tokens than the model", where=where, hint=_HINT)


_HINT = "take a smaller model of the same family"
