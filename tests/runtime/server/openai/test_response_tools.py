"""Tools of responses other than plain functions: namespaces, custom tools, and those that OpenAI's servers run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from mlxbuild.runtime.protocol.events import ToolCall
from mlxbuild.runtime.server.bodies.validation import checked
from mlxbuild.runtime.server.failures import InvalidRequest, NotSupported
from mlxbuild.runtime.server.openai.responses.body import ResponseBody, response_request
from tests.runtime.server.openai.asking import MODEL, RESULT, asking_for_rome

CAPTURED = Path(__file__).with_name("captured")
WEATHER: Any = {
    "type": "namespace",
    "name": "mcp__weather",
    "description": "Tools in the mcp__weather namespace.",
    "tools": [
        {
            "type": "function",
            "name": "get_weather",
            "description": "Get the current weather in a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
            "strict": False,
        }
    ],
}
SAY: Any = {"type": "custom", "name": "say", "description": "Say it."}
SEARCH: Any = {"type": "web_search", "external_web_access": False}


def captured(name: str) -> dict[str, Any]:
    """What a client sent, its long texts cut short."""
    body: dict[str, Any] = json.loads((CAPTURED / f"{name}.json").read_text())
    return {**body, "model": MODEL}


def body(**fields: Any) -> ResponseBody:
    return checked(ResponseBody, {"model": MODEL, "input": "Hi", **fields})


def last_event(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return json.loads(answer.text.strip().split("\n\n")[-1].split("data: ")[1])


def test_codex_has_a_tool_of_an_mcp_server_called(hello: httpx.Client) -> None:
    asked = captured("codex")
    event = last_event(hello.post("/v1/responses", json=asked))
    assert event["type"] == "response.completed"
    *thought, call = event["response"]["output"]
    assert (call["type"], call["namespace"], call["name"]) == ("function_call", "mcp__weather", "get_weather")
    assert json.loads(call["arguments"]) == {"city": "Rome"}
    assert event["response"]["tools"][-1] == SEARCH
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": RESULT}
    again = {**asked, "input": [*asked["input"], *thought, call, output]}
    told = last_event(hello.post("/v1/responses", json=again))
    assert told["response"]["output"][-1]["type"] == "message"


def test_codex_is_answered_as_an_open_source_client(hello: httpx.Client) -> None:
    assert last_event(hello.post("/v1/responses", json=captured("codex_ollama")))["type"] == "response.completed"


def test_calls_get_their_names_back() -> None:
    crm: Any = {**WEATHER, "name": "crm", "tools": [*WEATHER["tools"], SAY]}
    tools = body(tools=[WEATHER, crm, {**WEATHER["tools"][0], "name": "wait"}, SEARCH]).callable_tools()
    assert list(tools.by_name) == ["mcp__weather__get_weather", "crm__get_weather", "crm__say", "wait"]
    item = tools.item(ToolCall("crm__get_weather", {"city": "Rome"}))
    assert (item["namespace"], item["name"], item["type"]) == ("crm", "get_weather", "function_call")
    item = tools.item(ToolCall("say", {"input": "ho"}))
    assert (item["namespace"], item["name"], item["type"], item["input"]) == ("crm", "say", "custom_tool_call", "ho")
    assert "namespace" not in tools.item(ToolCall("wait", {}))
    assert tools.item(ToolCall("get_weather", {}))["name"] == "get_weather"  # nobody knows which


def test_texts_of_custom_calls_are_found_whatever_a_model_named_them() -> None:
    tools = body(tools=[SAY]).callable_tools()
    assert tools.item(ToolCall("say", {"text": "ho", "n": 1}))["input"] == "ho"
    assert tools.item(ToolCall("say", {"n": 1}))["input"] == '{"n": 1}'


@pytest.mark.parametrize(
    ("choice", "tools", "expected"),
    [
        ({"type": "function", "name": "get_weather"}, [WEATHER], "mcp__weather__get_weather"),
        ({"type": "function", "name": "get_weather", "namespace": "mcp__weather"}, [WEATHER, SAY], None),
        ({"type": "custom", "name": "say"}, [WEATHER, SAY], "say"),
    ],
)
def test_a_choice_names_a_tool_as_its_client_does(choice: Any, tools: Any, expected: str | None) -> None:
    asked = response_request(body(tools=tools, tool_choice=choice))
    assert asked.tool_choice.mode == "required"
    assert asked.tool_choice.name == (expected or "mcp__weather__get_weather")


def test_some_tools_are_allowed_by_their_clients_names() -> None:
    some = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "custom", "name": "say"}]}
    asked = response_request(body(tools=[WEATHER, SAY], tool_choice=some))
    assert [tool["function"]["name"] for tool in asked.tools] == ["say"]


@pytest.mark.parametrize(
    ("choice", "kind", "told"),
    [
        ({"type": "web_search"}, NotSupported, "does not run `web_search`"),
        ({"type": "mcp", "server_label": "x"}, NotSupported, "does not run `mcp`"),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "image_generation"}]},
            NotSupported,
            "does not run `image_generation`",
        ),
        ("required", InvalidRequest, "no tools"),
        ({"type": "function", "name": "search"}, InvalidRequest, "no tool is named `search`"),
        ("always", InvalidRequest, "tool_choice"),
    ],
)
def test_hosted_tools_are_left_out_and_cannot_be_chosen(choice: Any, kind: Any, told: str) -> None:
    assert response_request(body(tools=[SEARCH, {"type": "unheard_of"}])).tools == ()
    with pytest.raises(kind, match=told):
        response_request(body(tools=[SEARCH], tool_choice=choice))


def test_two_tools_of_one_name_are_refused_where_they_stand() -> None:
    with pytest.raises(InvalidRequest, match="two tools are named `mcp__weather__get_weather`") as refused:
        body(tools=[SEARCH, WEATHER, WEATHER]).callable_tools()
    assert refused.value.where == "tools[2].tools[0]"


@pytest.mark.parametrize(
    "form",
    [
        {"type": "grammar", "syntax": "regex", "definition": r"^(ja|n/a)\n$"},
        {"type": "grammar", "syntax": "lark", "definition": 'start: line+\nline: ("ja" | "n/a") LF\n%import common.LF'},
    ],
)
@pytest.mark.parametrize("streams", [True, False])
def test_a_custom_tool_is_called_with_a_text_of_its_grammar(client: openai.OpenAI, form: Any, *, streams: bool) -> None:
    tools: Any = [{**SAY, "format": form}, WEATHER]
    settings: Any = {"model": MODEL, "input": "Say ja.", "tools": tools, "reasoning": {"effort": "none"}}
    settings |= {"tool_choice": {"type": "custom", "name": "say"}, "max_output_tokens": 100}
    if streams:
        with client.responses.stream(**settings) as stream:
            events = list(stream)
            done: Any = stream.get_final_response()
        told = [event for event in events if event.type.startswith("response.custom_tool_call_input.")]
        assert [event.type.rpartition(".")[2] for event in told] == ["delta", "done"]
        assert told[0].delta == told[1].input == done.output[-1].input  # type: ignore[union-attr]
    else:
        done = client.responses.create(**settings)
    call = done.output[-1]
    assert (done.status, call.type, call.name) == ("completed", "custom_tool_call", "say")
    assert call.input.splitlines()[0] in ("ja", "n/a")
    assert call.input.endswith("\n")
    items = [
        {"role": "user", "content": "Say ja."},
        call.model_dump(exclude_none=True),
        {"type": "custom_tool_call_output", "call_id": call.call_id, "output": "said"},
    ]
    again = client.responses.create(**settings | {"input": items, "tool_choice": "auto"})
    assert again.status in ("completed", "incomplete")


def test_a_grammar_that_cannot_be_held_to_is_refused(client: openai.OpenAI) -> None:
    form = {"type": "grammar", "syntax": "lark", "definition": "start: %json {}"}
    with pytest.raises(openai.BadRequestError, match="%json"):
        client.responses.create(model=MODEL, input="x", tools=[{**SAY, "format": form}])


def test_what_clients_send_back_from_elsewhere_is_understood_or_passed_over() -> None:
    items = [
        *asking_for_rome(),
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}},
        {
            "type": "local_shell_call",
            "call_id": "s",
            "status": "completed",
            "action": {"type": "exec", "command": ["ls"]},
        },
        {"type": "local_shell_call_output", "id": "s", "output": "a.txt"},
        {"type": "custom_tool_call", "call_id": "p", "name": "apply_patch", "input": "***"},
        {"type": "custom_tool_call_output", "call_id": "p", "output": [{"type": "input_text", "text": "done"}]},
        {
            "type": "function_call",
            "call_id": "w",
            "namespace": "mcp__weather",
            "name": "get_weather",
            "arguments": "{}",
        },
        {"type": "function_call_output", "call_id": "w", "output": RESULT},
        {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "AAAA"},
        {"type": "compaction", "encrypted_content": "gAAAA"},
        {"type": "ghost_snapshot", "ghost_commit": {}},
        {"role": "user", "content": "And now?"},
    ]
    messages = response_request(body(input=items)).messages
    assert [message["role"] for message in messages] == [
        "user",
        *("assistant", "tool") * 3,
        "user",
    ]
    calls = [call["function"] for message in messages for call in message.get("tool_calls", ())]
    assert [(call["name"], call["arguments"]) for call in calls] == [
        ("local_shell", {"type": "exec", "command": ["ls"]}),
        ("apply_patch", {"input": "***"}),
        ("mcp__weather__get_weather", {}),
    ]
    with pytest.raises(InvalidRequest, match="no message"):
        response_request(body(input=[{"type": "ghost_snapshot"}]))
