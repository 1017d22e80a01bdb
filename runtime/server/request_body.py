"""The ground that request bodies of every API stand on. What each of them holds lives with its API."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic_core import PydanticCustomError


class RequestBody(BaseModel):
    """Fields that nobody knows are passed over, types are not guessed, and null is as good as absent."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, allow_inf_nan=False)


def refused(why: str, *neutral: Any) -> BeforeValidator:
    """For a field that may be null only: one that would change the answer, and that nothing here can honour.

    The neutral values are as good as null; where none are called so, False and 0 are.
    """

    def check(value: Any) -> None:
        if value not in (None, *(neutral or (False,))):
            raise PydanticCustomError("refused", "{why}", {"why": why})

    return BeforeValidator(check)
