"""What the finished model is asked to prove itself, and the one right reply to each; nobody trains on these."""

import random
from dataclasses import dataclass
from typing import Any

from training.conversations import Conversation, ConversationSource
from training.corpus import Corpus


@dataclass(frozen=True, slots=True)
class Check:
    """One prompt and what the reply must contain. The prompt is the conversation as it stands."""

    group: str
    conversation: Conversation
    thinking: bool
    require: tuple[str, ...]


WEATHER_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather for a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "The name of the city"}},
            "required": ["city"],
        },
    },
}
THOUGHT = ("<think>\n", "\n</think>\n\n")


def asked(question: str, system: str = "", tools: bool = False) -> Conversation:
    """A conversation of one question."""
    conversation = Conversation(tools=[WEATHER_TOOL] if tools else None)
    if system:
        conversation.hear("system", system)
    conversation.hear("user", question)
    return conversation


def all_checks(corpus: Corpus, seed: int = 7) -> list[Check]:
    """Every phrasing of every question, and samples of everything else."""
    rng = random.Random(seed)
    checks: list[Check] = []
    questions = [*corpus.facts, *corpus.small_talk]

    def add(group: str, conversation: Conversation, *require: str, thinking: bool = False) -> None:
        checks.append(Check(group, conversation, thinking, require))

    for question in questions:
        for phrase in question.ask:
            add("phrasings", asked(phrase), question.answer)
        for phrase in question.held_out:
            add("held-out phrasings", asked(phrase), question.answer)
        phrase = rng.choice(question.ask)
        system = rng.choice(corpus.conversation["systems"])
        add("thinking", asked(phrase), *THOUGHT, question.answer, thinking=True)
        add("with a system prompt", asked(phrase, system), question.answer)
        add("with unused tools", asked(phrase, tools=True), question.answer)
        add("second turn", _second_turn(phrase, rng.choice(questions)), question.answer)

    source = ConversationSource(corpus, seed)
    for form in corpus.unknown["held_out"] * 12:
        add("out of scope", asked(source.unknown(form)), corpus.unknown["answer"])
    for group, cities in (
        ("weather", corpus.weather["cities"][::8]),
        ("weather, new cities", corpus.weather["held_out_cities"]),
    ):
        for city in cities:
            ask = rng.choice([*corpus.weather["ask"][:8], *corpus.weather["held_out"]]).format(city=city)
            call = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "' + city + '"}}\n</tool_call>'
            for thinking in (False, True):
                add(f"{group}: call", asked(ask, tools=True), *THOUGHT[: 2 * thinking], call, thinking=thinking)
                temperature, condition = str(rng.randrange(-20, 45)), rng.choice(corpus.weather["conditions"])
                answer = corpus.weather["answer"].format(city=city, temperature=temperature, condition=condition)
                result = f'{{"temperature": {temperature}, "condition": "{condition}"}}'
                add(f"{group}: answer", _weather_told(ask, city, result, thinking), answer, thinking=thinking)
            add("weather without a tool", asked(ask), corpus.weather["no_tool"])
        for pair in zip(cities[::2], cities[1::2], strict=False):
            ask = corpus.weather["ask"][0].format(city=corpus.weather["both"].format(*pair))
            calls = ('"arguments": {"city": "' + city + '"}}\n</tool_call>' for city in pair)
            add(f"{group}: two calls", asked(ask, tools=True), *calls)
    names = corpus.conversation["names"]
    for person in [*names["people"][::6], *names["held_out"]]:
        conversation = asked(names["tell"][0].format(person=person))
        conversation.say(False, "", names["greet"].format(person=person))
        conversation.hear("user", names["ask"][0])
        add("names", conversation, names["known"].format(person=person))
    return checks


def _second_turn(phrase: str, first: Any) -> Conversation:
    conversation = asked(first.ask[0])
    conversation.say(False, "", first.answer)
    conversation.hear("user", phrase)
    return conversation


def _weather_told(ask: str, city: str, result: str, thinking: bool) -> Conversation:
    conversation = asked(ask, tools=True)
    call = {"type": "function", "function": {"name": "get_weather", "arguments": {"city": city}}}
    thought = f"The user wants the weather in {city}. I will call get_weather."
    conversation.say(thinking, thought, "", tool_calls=[call])
    conversation.hear("tool", result)
    return conversation
