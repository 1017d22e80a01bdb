"""The tools and the tool choice in the body of a response; `callable_tools` converts them for the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, Tag

from mlxbuild.runtime.server.bodies.request_body import RequestBody
from mlxbuild.runtime.server.inference.tool_choice import Mode
from mlxbuild.runtime.server.openai.structured_outputs import lark_of_regex
from mlxbuild.runtime.server.openai.tools import Allowed, Function, FunctionName


class FunctionTool(Function):
    """A function, which the client runs; this server runs none itself."""

    type: Literal["function"]
    strict: bool | None = None


class FreeText(RequestBody):
    """The format of a custom tool that takes any text."""

    type: Literal["text"]


class GrammarText(RequestBody):
    """The format of a custom tool whose text has to match a grammar."""

    type: Literal["grammar"]
    syntax: Literal["lark", "regex"]
    definition: Annotated[str, Field(min_length=1)]

    def lark(self) -> str:
        """The grammar in Lark's syntax."""
        return self.definition if self.syntax == "lark" else lark_of_regex(self.definition)


class CustomTool(RequestBody):
    """A tool that takes one text instead of JSON arguments."""

    type: Literal["custom"]
    name: FunctionName
    description: str | None = None
    format: Annotated[FreeText | GrammarText, Field(discriminator="type")] | None = None


class NamespaceTool(RequestBody):
    """A group of tools. Codex sends the tools of each MCP server as one."""

    type: Literal["namespace"]
    name: FunctionName
    description: str | None = None
    tools: list[Annotated[FunctionTool | CustomTool, Field(discriminator="type")]]


class HostedTool(RequestBody):
    """A tool that OpenAI's servers run, such as `web_search`, or one with its own items; it is left out of prompts."""

    model_config = ConfigDict(extra="allow")
    type: str


def _kind_of_tool(tool: Any) -> str:
    kind = tool.get("type") if isinstance(tool, Mapping) else getattr(tool, "type", None)
    return kind if kind in ("function", "custom", "namespace") else "hosted"


AnyTool = Annotated[
    Annotated[FunctionTool, Tag("function")]
    | Annotated[CustomTool, Tag("custom")]
    | Annotated[NamespaceTool, Tag("namespace")]
    | Annotated[HostedTool, Tag("hosted")],
    Discriminator(_kind_of_tool),
]


class NamedChoice(RequestBody):
    """The one tool that has to be called."""

    type: Literal["function", "custom"]
    name: FunctionName
    namespace: str | None = None


class AllowedToolsChoice(RequestBody):
    """A tool choice that allows only some of the tools."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[
        Annotated[
            Annotated[Allowed, Tag("function")] | Annotated[HostedTool, Tag("hosted")],
            Discriminator(lambda tool: "hosted" if _kind_of_tool(tool) in ("hosted", "namespace") else "function"),
        ]
    ]


def _kind_of_choice(choice: Any) -> str:
    if isinstance(choice, str):
        return "mode"
    kind = choice.get("type") if isinstance(choice, Mapping) else getattr(choice, "type", None)
    return {"function": "named", "custom": "named", "allowed_tools": "allowed"}.get(str(kind), "hosted")


AnyToolChoice = Annotated[
    Annotated[Mode, Tag("mode")]
    | Annotated[NamedChoice, Tag("named")]
    | Annotated[AllowedToolsChoice, Tag("allowed")]
    | Annotated[HostedTool, Tag("hosted")],
    Discriminator(_kind_of_choice),
]
