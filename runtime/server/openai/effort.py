"""How much a model is to think, in OpenAI's words."""

from __future__ import annotations

from typing import Literal

from mlxbuild.runtime.server.request_body import RequestBody

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra"]
_MEANT: dict[str, bool | str] = {"none": False, "minimal": "low", "xhigh": "max", "ultra": "max"}
"""What those are that templates do not know; the others are levels of their own."""


class Reasoning(RequestBody):
    """The same as an object."""

    effort: Effort | None = None


def thinking(*efforts: Effort | None) -> bool | str | None:
    """Off, or a level, by the first that was given; None leaves it to the model."""
    return next((_MEANT.get(effort, effort) for effort in efforts if effort is not None), None)
