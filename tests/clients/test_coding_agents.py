"""Codex and Claude Code, unmodified and without a network: two turns each, each with a tool of an MCP server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlxbuild.registry.core.home import Home
from tests import real_tools
from tests.clients import node, offline
from tests.clients.coding.model import write_recipe
from tests.mlxbuild.serving.conftest import PROGRAM, ServeProcess, serving

pytestmark = pytest.mark.timeout(900)  # the first run installs the packages

CODING = node.HERE / "coding"
WEATHER = {"command": sys.executable, "args": [str(CODING / "weather_server.py")]}
CITIES = ["Rome", "London"]
QUESTIONS = [f"What is the weather in {city}?" for city in CITIES]
ANSWERS = [f"It is 21 degrees and sunny in {city}." for city in CITIES]


@pytest.fixture(scope="module")
def offline_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServeProcess]:
    """A server with the model `assistant`, in a network namespace of its own."""
    folder = tmp_path_factory.mktemp("offline")
    write_recipe(folder / "recipe")
    home = Home(folder / "home")
    environment = os.environ | {"MLXBUILD_HOME": str(home.root), "MLXBUILD_PROGRESS": "none"}
    subprocess.run([PROGRAM, "create", "-f", folder / "recipe"], env=environment, capture_output=True, check=True)
    with serving(home, within=offline.opening()) as server:
        yield server


def events(server: ServeProcess, folder: Path, environment: dict[str, str], *command: str) -> list[dict[str, Any]]:
    """The JSON lines that an agent tells, run in a folder which is its home too."""
    done = subprocess.run(
        [*offline.joining(server.process.pid), *command],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_namespace_has_loopback_alone(offline_server: ServeProcess) -> None:
    assert offline.interfaces(offline_server.process.pid) == ["lo"]


def test_codex(offline_server: ServeProcess, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(f"""
model = "assistant"
model_provider = "mlxbuild"
approval_policy = "never"

[model_providers.mlxbuild]
name = "mlxbuild"
base_url = "{offline_server.url}/v1"
wire_api = "responses"

[mcp_servers.weather]
command = {json.dumps(WEATHER["command"])}
args = {json.dumps(WEATHER["args"])}
""")
    program = node.installed(CODING) / "node_modules" / "@openai" / "codex" / "bin" / "codex.js"
    command = [real_tools.find("node"), str(program), "exec", "--skip-git-repo-check", "--json"]
    for again, question, city, answer in zip(([], ["resume", "--last"]), QUESTIONS, CITIES, ANSWERS, strict=True):
        told = events(offline_server, tmp_path, {"CODEX_HOME": str(tmp_path)}, *command, *again, question)
        items = [event["item"] for event in told if event["type"] == "item.completed"]
        (call,) = [item for item in items if item["type"] == "mcp_tool_call"]
        assert (call["tool"], call["arguments"], call["status"]) == ("get_weather", {"city": city}, "completed")
        assert [item["text"] for item in items if item["type"] == "agent_message"] == [answer]
        assert told[-1]["type"] == "turn.completed"


def test_claude_code(offline_server: ServeProcess, tmp_path: Path) -> None:
    program = node.installed(CODING) / "node_modules" / "@anthropic-ai" / "claude-code" / "cli-wrapper.cjs"
    environment = {
        "ANTHROPIC_BASE_URL": offline_server.url,
        "ANTHROPIC_AUTH_TOKEN": "unused",
        "ANTHROPIC_MODEL": "assistant",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "ENABLE_TOOL_SEARCH": "false",
    }
    command = [real_tools.find("node"), str(program), "--print", "--output-format", "stream-json", "--verbose"]
    command += ["--mcp-config", json.dumps({"mcpServers": {"weather": WEATHER}})]
    command += ["--allowedTools", "mcp__weather__get_weather"]
    for again, question, city, answer in zip(([], ["--continue"]), QUESTIONS, CITIES, ANSWERS, strict=True):
        told = events(offline_server, tmp_path, environment, *command, *again, "--", question)
        blocks = [block for event in told if event["type"] == "assistant" for block in event["message"]["content"]]
        called = [(block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"]
        assert called == [("mcp__weather__get_weather", {"city": city})]
        assert (told[-1]["subtype"], told[-1]["result"]) == ("success", answer)
