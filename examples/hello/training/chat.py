"""Renders conversations through the model's own chat template and turns them into tokens with a learning mask."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from training.conversations import Conversation


@dataclass(frozen=True, slots=True)
class Sample:
    """One training sequence. `learn[i]` tells whether token i is one that the model has to say itself."""

    tokens: list[int]
    learn: list[bool]


class ChatTemplate:
    """The chat template, rendered as transformers renders it."""

    def __init__(self, path: Path) -> None:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
        self.template = environment.from_string(path.read_text(encoding="utf-8"))

    def render(self, messages: list[dict[str, Any]], **switches: Any) -> str:
        return str(self.template.render(messages=messages, **switches))

    def pieces(self, conversation: Conversation) -> list[tuple[str, bool]]:
        """The rendered text, cut where the model begins and ends to speak.

        Raises ValueError when a turn rewrites the past.
        """
        pieces: list[tuple[str, bool]] = []
        done = ""
        for index, thinking in enumerate(conversation.thinking):
            if thinking is None:
                continue
            head, tools = conversation.messages[:index], conversation.tools
            prompt = self.render(head, tools=tools, add_generation_prompt=True, enable_thinking=thinking)
            full = self.render(conversation.messages[: index + 1], tools=tools).removesuffix("\n")
            if not (prompt.startswith(done) and full.startswith(prompt)):
                raise ValueError("the chat template does not append only")
            pieces += [(prompt[len(done) :], False), (full[len(prompt) :], True)]
            done = full
        return pieces


def encode(pieces: list[tuple[str, bool]], tokenizer: Tokenizer) -> Sample:
    """Tokens of the pieces. Pieces meet at special tokens and line ends, so they encode as the whole text does."""
    tokens: list[int] = []
    learn: list[bool] = []
    for (text, spoken), encoding in zip(
        pieces, tokenizer.encode_batch([text for text, _ in pieces], add_special_tokens=False), strict=True
    ):
        del text
        tokens += encoding.ids
        learn += [spoken] * len(encoding.ids)
    return Sample(tokens, learn)
