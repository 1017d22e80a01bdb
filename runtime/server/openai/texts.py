"""The inputs of completions and embeddings: one or more texts, as strings or token ids."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Token = Annotated[int, Field(ge=0, lt=2**31)]
Tokens = Annotated[list[Token], Field(min_length=1)]
Texts = str | Annotated[list[str] | list[Token] | list[Tokens], Field(min_length=1)]


def each_of(texts: str | list[str] | list[int] | list[list[int]]) -> list[str | tuple[int, ...]]:
    """The single texts; a list of token ids is one text."""
    if isinstance(texts, str):
        return [texts]
    single = tuple(part for part in texts if isinstance(part, int))
    return [single] if single else [part if isinstance(part, str) else tuple(part) for part in texts]  # type: ignore[arg-type]
