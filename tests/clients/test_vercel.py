"""Vercel's AI SDK, unmodified, through each of its providers: two turns, each with a tool, the second one streamed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients import node
from tests.mlxbuild.serving.conftest import ServeProcess

pytestmark = pytest.mark.timeout(900)  # the first run installs the packages

PROVIDERS = ["openai", "openai_chat", "openai_compatible", "anthropic", "ollama"]


@pytest.fixture(scope="module")
def told(served: ServeProcess) -> Any:
    """What the client told."""
    return node.run(node.HERE / "vercel" / "turns.js", served.url)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_two_turns_with_a_tool_each(told: Any, provider: str) -> None:
    got = told[provider]
    assert "error" not in got, got
    first, second = got["turns"]
    assert got["cities"][0] == "Rome"
    assert len(got["cities"]) == 2
    assert first["text"].endswith("sunny in Rome.")
    assert second["text"].endswith(f"sunny in {got['cities'][1]}.")
    assert got["streamed"] == second["text"]
    for turn in got["turns"]:
        assert turn["finishReason"] == "stop"
        assert turn["tokens"] > 10


def test_every_provider_is_tested(told: Any) -> None:
    assert list(told) == PROVIDERS
