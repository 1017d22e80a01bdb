"""What OpenAI's and Anthropic's clients raise when a server asks for a key, or has been asked too often."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import anthropic
import openai
import pytest

from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.server.app import create_app
from mlxbuild.runtime.server.application import Application
from mlxbuild.runtime.server.security.api_keys import KeyRing
from mlxbuild.runtime.server.settings import ServerSettings
from tests.runtime.server.running import RunningServer, running


@pytest.fixture
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, str]]:
    """A server that wants a key and takes one request a minute; and a key."""
    home = Home(tmp_path_factory.mktemp("guarded"))
    settings = replace(ServerSettings(), asks_for_key=True, requests_per_minute=1)
    application = Application(home, Store.open(home), settings, None, None, "0.1.0")  # type: ignore[arg-type]
    with running(create_app(application)) as server:
        yield server, KeyRing(home).add("test")


def test_openais_client(guarded: tuple[RunningServer, str]) -> None:
    server, key = guarded
    url = f"{server.url}/v1"
    with openai.OpenAI(base_url=url, api_key="wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError, match="not known"):
            client.models.list()
    with openai.OpenAI(base_url=url, api_key=key, max_retries=0) as client:
        assert list(client.models.list()) == []
        with pytest.raises(openai.RateLimitError) as caught:
            client.models.list()
    assert caught.value.type == "rate_limit_error"
    assert int(caught.value.response.headers["retry-after"]) > 0


def test_anthropics_client(guarded: tuple[RunningServer, str]) -> None:
    server, key = guarded
    with anthropic.Anthropic(base_url=server.url, api_key="wrong", max_retries=0) as client:
        with pytest.raises(anthropic.AuthenticationError):
            client.messages.count_tokens(model="x", messages=[{"role": "user", "content": "x"}])
    with anthropic.Anthropic(base_url=server.url, api_key=key, max_retries=0) as client:
        with pytest.raises(anthropic.NotFoundError):
            client.messages.count_tokens(model="x", messages=[{"role": "user", "content": "x"}])
        with pytest.raises(anthropic.RateLimitError):
            client.messages.count_tokens(model="x", messages=[{"role": "user", "content": "x"}])
