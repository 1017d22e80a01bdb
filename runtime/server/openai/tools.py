"""Tools and the choice among them, as chat completions and responses write them. How calls are answered: elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from runtime.protocol.requests import ToolChoice
from runtime.server.failures import InvalidRequest
from runtime.server.request_body import RequestBody

Mode = Literal["none", "auto", "required"]
FunctionName = Annotated[str, Field(min_length=1)]


class Function(RequestBody):
    """A function that the model may call."""

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    """A JSON Schema of an object."""

    def as_template_tool(self) -> dict[str, Any]:
        """As chat templates know it."""
        described = {} if self.description is None else {"description": self.description}
        parameters = self.parameters or {"type": "object", "properties": {}}
        return {"type": "function", "function": {"name": self.name, **described, "parameters": parameters}}


class NamedFunction(RequestBody):
    """A function that was described before."""

    name: FunctionName


class Allowed(RequestBody):
    """The name of one allowed tool, in the form of either API."""

    type: Literal["function"]
    name: FunctionName | None = None
    function: NamedFunction | None = None

    def tool_name(self, place: str) -> str:
        """Wherever it stands."""
        name = self.function.name if self.function else self.name
        if name is None:
            raise InvalidRequest("an allowed tool has no name", where=place)
        return name


def chosen(
    functions: Sequence[Function],
    *,
    mode: Mode = "auto",
    name: str | None = None,
    allowed: Sequence[str] | None = None,
    allows_several: bool = True,
) -> tuple[tuple[dict[str, Any], ...], ToolChoice]:
    """The tools that the model is told of, and whether it has to call one; `allowed` leaves out all others.

    Raises:
        InvalidRequest: a name that no tool has, the same name twice, or a call is asked for and there are no tools.
    """
    names = [function.name for function in functions]
    for number, each in enumerate(names):
        if each in names[:number]:
            raise InvalidRequest(f"two tools are named `{each}`", where=f"tools[{number}]")
    for wanted in (*(allowed or ()), *((name,) if name else ())):
        if wanted not in names:
            raise InvalidRequest(f"no tool is named `{wanted}`", where="tool_choice")
    kept = [function for function in functions if allowed is None or function.name in allowed]
    if mode == "required" and not kept:
        raise InvalidRequest("a call is required, and there are no tools", where="tool_choice")
    if mode == "none":
        return (), ToolChoice("none")
    return tuple(function.as_template_tool() for function in kept), ToolChoice(mode, name, allows_several)
