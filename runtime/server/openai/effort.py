"""OpenAI's reasoning efforts, and their meaning for chat templates."""

from __future__ import annotations

from typing import Literal

from mlxbuild.runtime.server.bodies.request_body import RequestBody

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra"]
_MEANT: dict[str, bool | str] = {"none": False, "minimal": "low", "xhigh": "max", "ultra": "max"}
"""The efforts that templates do not know, and the efforts that replace them."""


class Reasoning(RequestBody):
    """The effort as an object."""

    effort: Effort | None = None


def thinking(*efforts: Effort | None) -> bool | str | None:
    """Thinking off or an effort, by the first effort that is given; None leaves it to the model."""
    return next((_MEANT.get(effort, effort) for effort in efforts if effort is not None), None)
