"""People who use a server in many ways at once: what they ask, and how it went for them. Who judges that: `soak`."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

SILENT_SECONDS = 90.0
"""After which a request is stuck."""
KILLED = "its runner was killed"
STUCK = "STUCK"
_HELLO = Path(__file__).parent.parent / "examples" / "hello"
_MODELS = ("hello:int4", "hello:int4", "hello:int4", "hello:int8", "hello:none")
_SCHEMA = {"type": "object", "properties": {"answer": {"type": "string", "maxLength": 20}}, "required": ["answer"]}
_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class Person:
    """One who keeps asking."""

    def __init__(self, client: httpx.AsyncClient, seed: int) -> None:
        self.client = client
        self.chance = random.Random(seed)

    @property
    def model(self) -> str:
        """Any."""
        return self.chance.choice(_MODELS)

    @property
    def messages(self) -> list[dict[str, str]]:
        """A question that the models were made for."""
        lines = (_HELLO / "questions.txt").read_text(encoding="utf-8").splitlines()
        return [{"role": "user", "content": self.chance.choice(lines).split("\t")[0]}]


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that people do."""

    name: str
    do: Callable[[Person], Awaitable[str]]
    """Returns the outcome."""
    share: int
    """How often it is done, as compared with others."""
    right: str
    """The outcome that is right."""


async def live(person: Person, until: float, seen: Counter[tuple[Act, str]]) -> None:
    """Do one thing after the other until a moment of the monotonic clock; outcomes are counted."""
    while time.monotonic() < until:
        act = person.chance.choices(ACTS, [each.share for each in ACTS])[0]
        try:
            outcome = await asyncio.wait_for(act.do(person), SILENT_SECONDS)
        except (TimeoutError, httpx.TimeoutException):
            outcome = STUCK
        except (httpx.HTTPError, ValueError) as error:  # the connection broke, or what came is no JSON
            outcome = type(error).__name__
        seen[act, outcome] += 1


async def _chats(person: Person) -> str:
    body = {"model": person.model, "messages": person.messages, "options": {"temperature": 0.7}}
    return await _read(person, "/api/chat", body, '"done":true')


async def _streams(person: Person) -> str:
    body = {"model": person.model, "messages": person.messages, "stream": True, "seed": 7, "temperature": 1.0}
    return await _read(person, "/v1/chat/completions", body, "[DONE]")


async def _writes_to_anthropic(person: Person) -> str:
    body = {"model": person.model, "messages": person.messages, "max_tokens": 60, "stream": True}
    return await _read(person, "/v1/messages", body, "message_stop")


async def _leaves(person: Person) -> str:
    body = {"model": person.model, "messages": [{"role": "user", "content": "Tell me a story."}], "stream": True}
    async with person.client.stream("POST", "/api/chat", json=body) as reply:
        lines = []
        async for line in reply.aiter_lines():
            lines.append(line)
            if reply.status_code == 200 and '"error"' not in line and person.chance.random() < 0.2:
                return "left"
    outcome = _outcome(reply.status_code, "".join(lines), '"done":true')
    return "left" if outcome == "200" else outcome  # at the very end


async def _calls(person: Person) -> str:
    messages = [{"role": "user", "content": "What is the weather in Rome?"}]
    return await _ask(person, "/api/chat", {"model": person.model, "messages": messages, "tools": [_TOOL]})


async def _wants_json(person: Person) -> str:
    return await _ask(
        person, "/api/chat", {"model": person.model, "messages": person.messages, "format": _SCHEMA, "think": False}
    )


async def _embeds(person: Person) -> str:
    return await _ask(person, "/api/embed", {"model": person.model, "input": ["one", "two words", "three words now"]})


async def _is_rude(person: Person) -> str:
    content = person.chance.choice(
        [b"{", b"[]", b'{"model": 7}', b"\xff\xfe", b'{"model": "nobody", "messages": [{"role": "user"}]}', b""]
    )
    path = person.chance.choice(["/api/chat", "/api/generate", "/v1/chat/completions", "/v1/messages", "/api/embed"])
    reply = await person.client.post(path, content=content)
    return f"{reply.status_code // 100}xx"


async def _goes_on_too_long(person: Person) -> str:
    messages = [{"role": "user", "content": "word " * 30_000}]
    return await _ask(person, "/v1/chat/completions", {"model": person.model, "messages": messages, "max_tokens": 5})


async def _stops(person: Person) -> str:
    return await _ask(person, "/api/generate", {"model": "hello:int8", "prompt": "", "keep_alive": 0})


ACTS = (
    Act("chats", _chats, 8, "200"),
    Act("streams", _streams, 8, "200"),
    Act("writes to anthropic", _writes_to_anthropic, 4, "200"),
    Act("leaves", _leaves, 6, "left"),
    Act("calls", _calls, 3, "200"),
    Act("wants json", _wants_json, 3, "200"),
    Act("embeds", _embeds, 3, "200"),
    Act("is rude", _is_rude, 4, "4xx"),
    Act("goes on too long", _goes_on_too_long, 1, "400"),
    Act("stops", _stops, 1, "200"),
)


async def _ask(person: Person, path: str, body: dict[str, Any]) -> str:
    reply = await person.client.post(path, json={"stream": False, **body})
    json.loads(reply.content)
    return _outcome(reply.status_code, reply.text)


async def _read(person: Person, path: str, body: dict[str, Any], end: str) -> str:
    async with person.client.stream("POST", path, json=body) as reply:
        text = "".join([line async for line in reply.aiter_lines()])
    return _outcome(reply.status_code, text, end)


def _outcome(status: int, text: str, end: str = "") -> str:
    """The status; but a request whose runner was killed has to be told so, and a stream has to have an end."""
    if (status == 500 or (status == 200 and end not in text)) and signal.SIGKILL.name in text:
        return KILLED
    if status == 200 and end not in text:
        return "an error in the stream" if '"error"' in text else "a stream without an end"
    return str(status)
