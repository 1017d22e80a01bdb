"""The tools that a model may call for a response: flattens namespaces, and maps calls back to the client's names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlxbuild.runtime.protocol.events import ToolCall
from mlxbuild.runtime.protocol.requests import ToolChoice
from mlxbuild.runtime.server.failures import InvalidRequest, NotSupported
from mlxbuild.runtime.server.inference.ids import call_id, new_id
from mlxbuild.runtime.server.inference.tool_choice import TemplateTool, chosen, template_tool
from mlxbuild.runtime.server.openai.replies import arguments_text
from mlxbuild.runtime.server.openai.responses.tools import (
    AllowedToolsChoice,
    AnyTool,
    AnyToolChoice,
    CustomTool,
    FunctionTool,
    GrammarText,
    HostedTool,
    NamedChoice,
    NamespaceTool,
)

INPUT = "input"
"""The name of a custom tool's only argument in the prompt."""


def flat_name(namespace: str | None, name: str) -> str:
    """A tool's name in the prompt: `get` in the namespace `mcp__weather` becomes `mcp__weather__get`."""
    return f"{namespace.removesuffix('__')}__{name}" if namespace else name


@dataclass(frozen=True, slots=True)
class CallableTool:
    """One tool that the model may call."""

    tool: FunctionTool | CustomTool
    namespace: str | None
    place: str
    """The tool's field in the request, for errors."""

    @property
    def name(self) -> str:
        """The tool's name in the prompt."""
        return flat_name(self.namespace, self.tool.name)

    def as_template_tool(self) -> TemplateTool:
        """The tool for chat templates."""
        if isinstance(self.tool, FunctionTool):
            return template_tool(self.name, self.tool.description, self.tool.parameters)
        told = {"type": "string", **_told(self.tool)}
        parameters = {"type": "object", "properties": {INPUT: told}, "required": [INPUT], "additionalProperties": False}
        return template_tool(self.name, self.tool.description, parameters)


@dataclass(frozen=True, slots=True)
class CallableTools:
    """All tools that the model may call, by their names in the prompt."""

    by_name: Mapping[str, CallableTool] = field(default_factory=dict)

    @classmethod
    def of(cls, tools: Sequence[AnyTool]) -> CallableTools:
        """The tools of a request that the client can run; hosted tools are left out.

        Raises:
            InvalidRequest: two tools have the same name.
        """
        by_name: dict[str, CallableTool] = {}
        for each in _flattened(tools):
            if each.name in by_name:
                raise InvalidRequest(f"two tools are named `{each.name}`", where=each.place)
            by_name[each.name] = each
        return cls(by_name)

    def chosen(
        self, choice: AnyToolChoice | None, *, allows_several: bool
    ) -> tuple[tuple[TemplateTool, ...], ToolChoice]:
        """The tools for the prompt, and the tool choice.

        Raises:
            InvalidRequest: no tool has the chosen name, or a call is required and there are no tools.
            NotSupported: a hosted tool is chosen.
        """
        tools = [each.as_template_tool() for each in self.by_name.values()]
        match choice:
            case NamedChoice(name=name, namespace=namespace):
                named = self._model_name(name, namespace)
                return chosen(tools, mode="required", name=named, allows_several=allows_several)
            case AllowedToolsChoice(mode=mode, tools=some):
                names = []
                for each in some:
                    if isinstance(each, HostedTool):
                        raise _hosted(each)
                    names.append(self._model_name(each.tool_name("tool_choice"), each.namespace))
                return chosen(tools, mode=mode, allowed=names, allows_several=allows_several)
            case HostedTool():
                raise _hosted(choice)
            case mode:
                return chosen(tools, mode=mode or "auto", allows_several=allows_several)

    def text_grammars(self) -> dict[str, str]:
        """The Lark grammars of the custom tools that have one, by name."""
        formats = {name: getattr(each.tool, "format", None) for name, each in self.by_name.items()}
        return {name: each.lark() for name, each in formats.items() if isinstance(each, GrammarText)}

    def item(self, call: ToolCall) -> dict[str, Any]:
        """A tool call as an item of the response, with the client's name of the tool."""
        called = self.by_name.get(self._model_name(call.name, None))
        name = called.tool.name if called else call.name
        namespace = {"namespace": called.namespace} if called and called.namespace else {}
        if called and isinstance(called.tool, CustomTool):
            kind = {"id": new_id("ctc_"), "type": "custom_tool_call"}
            return {**kind, "call_id": call_id(), "name": name, **namespace, "input": _input(call)}
        kind = {"id": new_id("fc_"), "type": "function_call"}
        return {**kind, "call_id": call_id(), "name": name, **namespace, "arguments": arguments_text(call)}

    def _model_name(self, name: str, namespace: str | None) -> str:
        """The name in the prompt of a chosen tool; without a namespace it is found if only one tool has that name."""
        if namespace is not None or name in self.by_name:
            return flat_name(namespace, name)
        same = [flat for flat, each in self.by_name.items() if each.tool.name == name]
        return same[0] if len(same) == 1 else name


def _flattened(tools: Sequence[AnyTool]) -> Iterator[CallableTool]:
    for number, tool in enumerate(tools):
        place = f"tools[{number}]"
        match tool:
            case NamespaceTool(name=namespace, tools=inner):
                for inner_number, each in enumerate(inner):
                    yield CallableTool(each, namespace, f"{place}.tools[{inner_number}]")
            case FunctionTool() | CustomTool():
                yield CallableTool(tool, None, place)


def _told(tool: CustomTool) -> dict[str, str]:
    """The description of a custom tool's text in the prompt."""
    if not isinstance(tool.format, GrammarText):
        return {}
    syntax = "Lark grammar" if tool.format.syntax == "lark" else "regular expression"
    return {"description": f"A text of this {syntax}:\n{tool.format.definition}"}


def _input(call: ToolCall) -> str:
    """The text of a call, even if the model has named its argument differently."""
    texts = [value for value in (call.arguments.get(INPUT), *call.arguments.values()) if isinstance(value, str)]
    return texts[0] if texts else arguments_text(call)


def _hosted(tool: HostedTool) -> NotSupported:
    return NotSupported(
        f"this server does not run `{tool.type}`",
        where="tool_choice",
        hint="choose a function or a custom tool, or none; hosted tools are ignored then",
    )
