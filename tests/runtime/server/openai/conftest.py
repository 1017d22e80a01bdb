"""OpenAI's own client of a server with the example in its store."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from tests.runtime.server.running import RunningServer


@pytest.fixture(scope="module")
def client(hello_server: RunningServer) -> Iterator[openai.OpenAI]:
    """Told nothing but the address."""
    with openai.OpenAI(base_url=f"{hello_server.url}/v1", api_key="unused", max_retries=0, timeout=60) as client:
        yield client
