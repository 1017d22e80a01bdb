"""The functions and allowed tools that chat completions and responses share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from mlxbuild.runtime.server.bodies.request_body import RequestBody
from mlxbuild.runtime.server.failures import InvalidRequest
from mlxbuild.runtime.server.inference.tool_choice import TemplateTool, template_tool

FunctionName = Annotated[str, Field(min_length=1)]


class Function(RequestBody):
    """A function that the model may call."""

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    """The JSON Schema of the arguments."""

    def as_template_tool(self) -> TemplateTool:
        """The tool for chat templates."""
        return template_tool(self.name, self.description, self.parameters)


class NamedFunction(RequestBody):
    """The name of one of the request's functions."""

    name: FunctionName


class Allowed(RequestBody):
    """An allowed tool, in the format of either API."""

    type: Literal["function", "custom"]
    name: FunctionName | None = None
    namespace: str | None = None
    function: NamedFunction | None = None

    def tool_name(self, place: str) -> str:
        """The tool's name, from the field of either API; `place` is for the error."""
        name = self.function.name if self.function else self.name
        if name is None:
            raise InvalidRequest("an allowed tool has no name", where=place)
        return name
