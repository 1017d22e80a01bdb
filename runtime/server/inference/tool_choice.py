"""The tools for the prompt, and the tool choice, for all APIs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from mlxbuild.runtime.protocol.requests import ToolChoice
from mlxbuild.runtime.server.failures import InvalidRequest

Mode = Literal["none", "auto", "required"]
TemplateTool = Mapping[str, Any]


def template_tool(name: str, description: str | None, parameters: Mapping[str, Any] | None) -> TemplateTool:
    """A tool in the format of chat templates."""
    described = {} if description is None else {"description": description}
    schema = parameters or {"type": "object", "properties": {}}
    return {"type": "function", "function": {"name": name, **described, "parameters": schema}}


def chosen(
    tools: Sequence[TemplateTool],
    *,
    mode: Mode = "auto",
    name: str | None = None,
    allowed: Sequence[str] | None = None,
    allows_several: bool = True,
) -> tuple[tuple[TemplateTool, ...], ToolChoice]:
    """The tools for the prompt, and the tool choice; `allowed` leaves out all other tools.

    Raises:
        InvalidRequest: no tool has a given name, two have the same, or a call is required and there are no tools.
    """
    names = [tool["function"]["name"] for tool in tools]
    for number, each in enumerate(names):
        if each in names[:number]:
            raise InvalidRequest(f"two tools are named `{each}`", where=f"tools[{number}]")
    for wanted in (*(allowed or ()), *((name,) if name else ())):
        if wanted not in names:
            raise InvalidRequest(f"no tool is named `{wanted}`", where="tool_choice")
    kept = tuple(tool for tool in tools if allowed is None or tool["function"]["name"] in allowed)
    if mode == "required" and not kept:
        raise InvalidRequest("a call is required, and there are no tools", where="tool_choice")
    if mode == "none":
        return (), ToolChoice("none")
    return kept, ToolChoice(mode, name, allows_several)
