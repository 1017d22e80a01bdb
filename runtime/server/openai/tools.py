"""Tools, and calls of them, as chat completions and responses write them. How calls are answered: elsewhere."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from mlxbuild.runtime.server.failures import InvalidRequest
from mlxbuild.runtime.server.request_body import RequestBody
from mlxbuild.runtime.server.tool_choice import TemplateTool, template_tool

FunctionName = Annotated[str, Field(min_length=1)]


class Function(RequestBody):
    """A function that the model may call."""

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    """A JSON Schema of an object."""

    def as_template_tool(self) -> TemplateTool:
        """As chat templates know it."""
        return template_tool(self.name, self.description, self.parameters)


class NamedFunction(RequestBody):
    """A function that was described before."""

    name: FunctionName


class Allowed(RequestBody):
    """The name of one allowed tool, in the form of either API."""

    type: Literal["function", "custom"]
    name: FunctionName | None = None
    namespace: str | None = None
    function: NamedFunction | None = None

    def tool_name(self, place: str) -> str:
        """Wherever it stands."""
        name = self.function.name if self.function else self.name
        if name is None:
            raise InvalidRequest("an allowed tool has no name", where=place)
        return name
