"""One text or several, as texts or as token ids: what completions and embeddings take."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Token = Annotated[int, Field(ge=0, lt=2**31)]
Tokens = Annotated[list[Token], Field(min_length=1)]
Texts = str | Annotated[list[str] | list[Token] | list[Tokens], Field(min_length=1)]


def each_of(texts: str | list[str] | list[int] | list[list[int]]) -> list[str | tuple[int, ...]]:
    """All texts; a list of numbers is one."""
    if isinstance(texts, str):
        return [texts]
    single = tuple(part for part in texts if isinstance(part, int))
    return [single] if single else [part if isinstance(part, str) else tuple(part) for part in texts]  # type: ignore[arg-type]
