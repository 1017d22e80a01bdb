"""LangChain's OpenAI classes against a real server: a chain, a stream, tools, and a form."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import SecretStr

from tests.runtime.server.openai.asking import ANSWER, MODEL, RESULT, City
from tests.runtime.server.running import RunningServer


@pytest.fixture(scope="module")
def chat(hello_server: RunningServer) -> Iterator[ChatOpenAI]:
    """A chat model that is told nothing but the address."""
    model = ChatOpenAI(
        model=MODEL,
        base_url=f"{hello_server.url}/v1",
        api_key=SecretStr("unused"),
        max_retries=0,
        reasoning_effort="none",
    )
    yield model
    model.root_client.close()
    asyncio.run(model.root_async_client.close())


@tool
def get_weather(city: str) -> str:
    """Get the current weather in a city"""
    return RESULT


def test_a_chat_whole_and_streamed(chat: ChatOpenAI) -> None:
    message = chat.invoke("What is a lock?")
    assert message.text == ANSWER
    assert message.usage_metadata is not None
    assert message.usage_metadata["total_tokens"] > 20
    parts = list(chat.stream("What is a lock?", stream_usage=True))
    assert len(parts) > 5
    assert "".join(part.text for part in parts) == ANSWER


def test_an_answer_has_the_form_that_was_asked_for(chat: ChatOpenAI) -> None:
    for method in ("json_schema", "function_calling"):
        assert isinstance(
            chat.with_structured_output(City, method=method, strict=True).invoke("Tell me of Rome."), City
        )


def test_texts_become_vectors(hello_server: RunningServer) -> None:
    embeddings = OpenAIEmbeddings(
        model=MODEL,
        base_url=f"{hello_server.url}/v1",
        api_key=SecretStr("unused"),
        check_embedding_ctx_length=False,  # else it sends the tokens of another model
    )
    vectors = embeddings.embed_documents(["What is a lock?", "Who are you?"])
    assert [len(vector) for vector in vectors] == [128, 128]
    assert embeddings.embed_query("What is a lock?") == pytest.approx(vectors[0], abs=1e-4)
    embeddings.client._client.close()
    asyncio.run(embeddings.async_client._client.close())


def test_a_tool_is_called_and_its_result_told(chat: ChatOpenAI) -> None:
    bound = chat.bind_tools([get_weather])
    messages: list[Any] = [HumanMessage("What is the weather in Rome?")]
    asked = bound.invoke(messages)
    (call,) = asked.tool_calls  # type: ignore[attr-defined]
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Rome"})
    result = ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])
    assert "sunny in Rome" in bound.invoke([*messages, asked, result]).text


def test_errors_are_the_clients_own(chat: ChatOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        chat.model_copy(update={"model_name": "nobody"}).invoke("What is a lock?")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError, match="context"):
        list(chat.stream("What? " * 3000))
