"""Tools in Anthropic's format: the client's own, Anthropic's that clients run, and Anthropic's that servers run.

Anthropic's models know the schemas of its client tools, so clients do not send them: here they are added to the prompt
as Anthropic documents them. Tools that only Anthropic's servers run are refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from mlxbuild.runtime.server.bodies.request_body import RequestBody
from mlxbuild.runtime.server.failures import InvalidRequest, NotSupported
from mlxbuild.runtime.server.inference.tool_choice import TemplateTool, template_tool

_TEXT: Mapping[str, Any] = {"type": "string"}
_LINE: Mapping[str, Any] = {"type": "integer"}
_LINES: Mapping[str, Any] = {"type": "array", "items": _LINE, "minItems": 2, "maxItems": 2}
_BASH = (
    "Run a command in a bash session that lasts from one call to the next.",
    {"command": _TEXT, "restart": {"type": "boolean", "description": "Begin a new session instead."}},
    (),
)
_EDITED = {"path": _TEXT, "file_text": _TEXT, "old_str": _TEXT, "new_str": _TEXT, "insert_line": _LINE}


def _editor(*commands: str, insert: str) -> tuple[str, dict[str, Any], tuple[str, ...]]:
    properties = {"command": {"type": "string", "enum": list(commands)}, **_EDITED, "view_range": _LINES, insert: _TEXT}
    told = "View and edit files: `create` takes `file_text`, `str_replace` takes `old_str` and `new_str`, "
    return told + f"`insert` puts `{insert}` after line `insert_line`.", properties, ("command", "path")


_EDITOR = ("view", "create", "str_replace", "insert")
_MEMORY = (
    "View and edit files below /memories, which last from one conversation to the next. `rename` takes `old_path` and "
    "`new_path`; all other commands take `path`.",
    {
        "command": {"type": "string", "enum": [*_EDITOR, "delete", "rename"]},
        **_EDITED,
        "insert_text": _TEXT,
        "view_range": _LINES,
        "old_path": _TEXT,
        "new_path": _TEXT,
    },
    ("command",),
)
_KNOWN = {
    "bash_20241022": _BASH,
    "bash_20250124": _BASH,
    "text_editor_20241022": _editor(*_EDITOR, "undo_edit", insert="new_str"),
    "text_editor_20250124": _editor(*_EDITOR, "undo_edit", insert="new_str"),
    "text_editor_20250429": _editor(*_EDITOR, insert="new_str"),
    "text_editor_20250728": _editor(*_EDITOR, insert="insert_text"),
    "memory_20250818": _MEMORY,
}
_SEEING = ("computer", "browser")
"""Prefixes of the types of tools whose results are images."""


class Tool(RequestBody):
    """A tool, which the client runs; this server runs none itself."""

    type: str | None = None
    """`custom`, or one that Anthropic defines, such as `bash_20250124`."""
    name: Annotated[str, Field(min_length=1)] | None = None
    description: str | None = None
    input_schema: dict[str, Any] | None = None

    def as_template_tool(self, place: str) -> TemplateTool:
        """The tool for chat templates; `place` is its field in the request, for errors.

        Raises:
            InvalidRequest: a tool of the client has no name or no schema.
            NotSupported: the tool is unknown, or only Anthropic's servers can run it.
        """
        kind = self.type or "custom"
        if kind == "custom" and self.input_schema is None:
            raise InvalidRequest(f"`{place}.input_schema` is required", where=f"{place}.input_schema")
        if kind == "custom" or self.input_schema is not None:
            return template_tool(self._name(place), self.description, self.input_schema)
        if kind not in _KNOWN:
            raise _refused(kind, f"{place}.type")
        told, properties, required = _KNOWN[kind]
        schema = {"type": "object", "properties": properties, "required": list(required)}
        return template_tool(self._name(place), told, schema)

    def _name(self, place: str) -> str:
        if self.name is None:
            raise InvalidRequest(f"`{place}.name` is required", where=f"{place}.name")
        return self.name


def _refused(kind: str, place: str) -> NotSupported:
    kind = kind[:80]
    if kind.startswith(_SEEING):
        hint = "its results are pictures, and this server takes text only: leave it out"
        return NotSupported(f"the tool `{kind}` is not supported", where=place, hint=hint)
    hint = (
        "such tools are run by Anthropic's servers, not by this one: leave it out, or describe a tool of your own by "
        "name, description and input_schema"
    )
    return NotSupported(f"the tool `{kind}` is not supported", where=place, hint=hint)
