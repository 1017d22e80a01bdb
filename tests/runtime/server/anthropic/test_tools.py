"""Tools that Anthropic defines: those that clients run are told to the model, all others refused by name."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from mlxbuild.runtime.server.anthropic.body import MessagesBody
from mlxbuild.runtime.server.anthropic.request import chat_request
from mlxbuild.runtime.server.bodies.validation import checked
from mlxbuild.runtime.server.failures import InvalidRequest, NotSupported

CALLS: list[tuple[str, str, list[dict[str, Any]]]] = [
    ("bash_20250124", "bash", [{"command": "ls"}, {"restart": True}]),
    (
        "text_editor_20250124",
        "str_replace_editor",
        [
            {"command": "view", "path": "/a", "view_range": [1, -1]},
            {"command": "insert", "path": "/a", "insert_line": 0, "new_str": "x"},
            {"command": "undo_edit", "path": "/a"},
        ],
    ),
    (
        "text_editor_20250728",
        "str_replace_based_edit_tool",
        [
            {"command": "create", "path": "/a", "file_text": "x"},
            {"command": "insert", "path": "/a", "insert_line": 0, "insert_text": "x"},
        ],
    ),
    ("memory_20250818", "memory", [{"command": "rename", "old_path": "/memories/a", "new_path": "/memories/b"}]),
]


def tools(*given: Any) -> tuple[Any, ...]:
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}], "tools": list(given)}
    return tuple(chat_request(checked(MessagesBody, body)).tools)


@pytest.mark.parametrize(("kind", "name", "calls"), CALLS)
def test_the_model_is_told_the_schemas_of_client_tools(kind: str, name: str, calls: list[dict[str, Any]]) -> None:
    (told,) = tools({"type": kind, "name": name, "max_characters": 5})
    assert told["function"]["name"] == name
    for call in calls:
        jsonschema.validate(call, told["function"]["parameters"])
    if name != "bash":
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"command": "fly", "path": "/a"}, told["function"]["parameters"])


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("web_search_20250305", "Anthropic's servers"),
        ("web_fetch_20250910", "Anthropic's servers"),
        ("code_execution_20250825", "Anthropic's servers"),
        ("mcp_toolset", "Anthropic's servers"),
        ("computer_20250124", "pictures"),
    ],
)
def test_tools_that_nobody_here_runs_are_refused_by_name(kind: str, hint: str) -> None:
    with pytest.raises(NotSupported, match=f"`{kind}`") as refused:
        tools({"type": kind, "name": "x", "max_uses": 3})
    assert hint in (refused.value.hint or "")
    assert refused.value.where == "tools[0].type"


@pytest.mark.parametrize(("tool", "where"), [({"name": "f"}, "input_schema"), ({"input_schema": {}}, "name")])
def test_tools_of_the_client_have_a_name_and_a_schema(tool: Any, where: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        tools(tool)
    assert refused.value.where == f"tools[0].{where}"
