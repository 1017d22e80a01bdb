"""OpenAI's Agents SDK, unmodified, by Responses and by chat completions: a tool in each turn, a stream, an error."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients import node, python
from tests.mlxbuild.serving.conftest import ServeProcess

pytestmark = pytest.mark.timeout(900)  # the first run installs the packages


@pytest.fixture(scope="module")
def told(served: ServeProcess) -> Any:
    """What the client told."""
    return python.run(node.HERE / "openai_agents" / "turns.py", served.url)


@pytest.mark.parametrize("api", ["responses", "chat"])
def test_two_turns_with_a_tool_each(told: Any, api: str) -> None:
    got = told[api]
    first, second = got["texts"]
    assert got["cities"][0] == "Rome"
    assert len(got["cities"]) == 2
    assert first.endswith("sunny in Rome.")
    assert second.endswith(f"sunny in {got['cities'][1]}.")
    assert got["streamed"] == second
    assert len(got["usages"]) == 4
    assert min(got["usages"]) > 10


@pytest.mark.parametrize("api", ["responses", "chat"])
def test_a_model_that_does_not_exist(told: Any, api: str) -> None:
    assert told[api]["code"] == "model_not_found"
