"""Checks whether one model can be the draft of another. It is used in `engine.core.speculative_decoding`."""

from __future__ import annotations

from mlxbuild.registry.core.errors import UserError
from mlxbuild.runtime.model.facts import ModelFacts
from mlxbuild.runtime.model.tokenizer import Tokenizer


class DraftUnusable(UserError):
    """A model cannot be the draft of another one."""

    code = "draft-unusable"


def require_writing(draft: ModelFacts, where: str) -> None:
    """Reject a draft that is an embedding model; `where` names the draft.

    Raises:
        DraftUnusable: the draft is an embedding model.
    """
    if draft.embedding is not None:
        raise DraftUnusable("the draft model only turns texts into vectors", where=where, hint=_HINT)


def require_same_tokens(draft: Tokenizer, model: Tokenizer, where: str) -> None:
    """Reject a draft whose tokens differ from those of the model; `where` names the draft.

    Raises:
        DraftUnusable: the tokens differ.
    """
    if draft.vocabulary() != model.vocabulary():
        raise DraftUnusable("the draft model has other tokens than the model", where=where, hint=_HINT)


_HINT = "use a smaller model of the same family"
