"""The base class of the request bodies of all APIs."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic_core import PydanticCustomError


class RequestBody(BaseModel):
    """A request body that ignores unknown fields, and validates types strictly; null means absent."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, allow_inf_nan=False)
    folds_names: ClassVar[bool] = False
    """Whether the names of fields match case-insensitively."""


def refused(why: str, *neutral: Any) -> BeforeValidator:
    """A validator for a field that would change the answer but is not supported, so it must be null or neutral.

    Without `neutral` values, False and 0 are neutral.
    """

    def check(value: Any) -> None:
        if value not in (None, *(neutral or (False,))):
            raise PydanticCustomError("refused", "{why}", {"why": why})

    return BeforeValidator(check)
