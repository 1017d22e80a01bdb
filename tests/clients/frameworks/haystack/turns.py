"""An answer, a form, a tool and a stream by Haystack's generators for OpenAI and Ollama; prints them as JSON.

Arguments: the server's URL.
"""

import json
import sys
from collections.abc import Callable
from typing import Any, Literal

from haystack.components.agents import Agent
from haystack.components.generators.chat import OpenAIChatGenerator, OpenAIResponsesChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import tool
from haystack.utils import Secret
from haystack_integrations.components.generators.ollama import OllamaChatGenerator
from pydantic import BaseModel

cities: list[str] = []


class City(BaseModel):
    """A city."""

    city: Literal["Oslo", "Rome"]
    capital: bool


@tool
def get_weather(city: str) -> str:
    """Get the current weather in a city"""
    cities.append(city)
    return json.dumps({"city": city, "temperature": 21, "condition": "sunny"})


def told(generator: Callable[..., Any], **formed: Any) -> dict:
    """What the client got."""
    cities.clear()
    pieces = []

    def asked(question: str, **settings: Any) -> str:
        return generator(**settings).run([ChatMessage.from_user(question)])["replies"][0].text

    answer = asked("What is a lock?")
    form = City.model_validate_json(asked("Tell me of Rome.", **formed))
    asked("What is a lock?", streaming_callback=lambda piece: pieces.append(piece.content))
    agent = Agent(chat_generator=generator(), tools=[get_weather])
    said = agent.run(messages=[ChatMessage.from_user("What is the weather in Rome?")])["messages"][-1].text
    return {"answer": answer, "form": form.model_dump(), "cities": [*cities], "said": said, "pieces": pieces}


def main(url: str) -> None:
    """Ask in each way."""
    openai = {"model": "hello", "api_base_url": f"{url}/v1", "api_key": Secret.from_token("unused"), "max_retries": 0}
    ways = {
        "chat": told(
            lambda **settings: OpenAIChatGenerator(**openai, **settings), generation_kwargs={"response_format": City}
        ),
        "responses": told(
            lambda **settings: OpenAIResponsesChatGenerator(**openai, **settings),
            generation_kwargs={"text_format": City},
        ),
        "ollama": told(
            lambda **settings: OllamaChatGenerator(model="hello", url=url, **settings),
            response_format=City.model_json_schema(),
        ),
    }
    print(json.dumps(ways))


main(sys.argv[1])
