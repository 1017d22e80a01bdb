"""An answer, a form, a tool and a stream by pydantic-ai; prints them as JSON. Arguments: the server's URL."""

import asyncio
import json
import sys
from typing import Literal

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models import Model
from pydantic_ai.models.ollama import OllamaModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.ollama import OllamaProvider
from pydantic_ai.providers.openai import OpenAIProvider


class City(BaseModel):
    """A city."""

    city: Literal["Oslo", "Rome"]
    capital: bool


async def told(model: Model) -> dict:
    """What the client got."""
    agent = Agent(model)
    answer = await agent.run("What is a lock?")
    forms = [await agent.run("Tell me of Rome.", output_type=kind) for kind in (City, NativeOutput(City))]
    assert forms[0].output == forms[1].output
    async with agent.run_stream("What is a lock?") as stream:
        pieces = [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]
    cities = []

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """Get the current weather in a city"""
        cities.append(city)
        return json.dumps({"city": city, "temperature": 21, "condition": "sunny"})

    said = await agent.run("What is the weather in Rome?")
    form = forms[0].output.model_dump()
    return {"answer": answer.output, "form": form, "cities": cities, "said": said.output, "pieces": pieces}


async def main(url: str) -> None:
    """Ask in each way."""
    openai = OpenAIProvider(base_url=f"{url}/v1", api_key="unused")
    models = {
        "chat": OpenAIChatModel("hello", provider=openai),
        "responses": OpenAIResponsesModel("hello", provider=openai),
        "ollama": OllamaModel("hello", provider=OllamaProvider(base_url=f"{url}/v1")),
    }
    print(json.dumps({way: await told(model) for way, model in models.items()}))


asyncio.run(main(sys.argv[1]))
