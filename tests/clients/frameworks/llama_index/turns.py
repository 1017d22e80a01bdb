"""An answer, a form, a tool and a stream by LlamaIndex's OpenAILike and Ollama; prints them as JSON.

Arguments: the server's URL.
"""

import asyncio
import json
import sys
from typing import Literal

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.prompts import PromptTemplate
from llama_index.llms.ollama import Ollama
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel


class City(BaseModel):
    """A city."""

    city: Literal["Oslo", "Rome"]
    capital: bool


async def told(model: FunctionCallingLLM) -> dict:
    """What the client got."""
    answer = await model.acomplete("What is a lock?")
    form = await model.astructured_predict(City, PromptTemplate("Tell me of Rome."))
    pieces = [piece.delta async for piece in await model.astream_complete("What is a lock?")]
    cities = []

    def get_weather(city: str) -> str:
        """Get the current weather in a city"""
        cities.append(city)
        return json.dumps({"city": city, "temperature": 21, "condition": "sunny"})

    said = await FunctionAgent(tools=[get_weather], llm=model).run("What is the weather in Rome?")
    return {"answer": answer.text, "form": form.model_dump(), "cities": cities, "said": str(said), "pieces": pieces}


async def main(url: str) -> None:
    """Ask in each way."""
    models = {
        "chat": OpenAILike(
            model="hello",
            api_base=f"{url}/v1",
            api_key="unused",
            is_chat_model=True,
            is_function_calling_model=True,
            max_retries=0,
        ),
        "ollama": Ollama(model="hello", base_url=url),
    }
    print(json.dumps({way: await told(model) for way, model in models.items()}))


asyncio.run(main(sys.argv[1]))
