"""What an artifact sets for requests that do not: the file `mlxbuild/defaults.json`. Who merges it: `preparation`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from runtime.engine.options import Options
from runtime.protocol.requests import Message


@dataclass(frozen=True, slots=True)
class Defaults:
    """A system prompt, a conversation and options."""

    system_prompt: str | None = None
    messages: tuple[Message, ...] = ()
    """Conversation that precedes every chat."""
    options: Options = field(default_factory=Options)

    @classmethod
    def from_json(cls, data: bytes) -> Defaults:
        """Read the file; `context` is a fact and no option.

        Raises:
            InvalidOption: a parameter that this version does not know, or out of its range.
        """
        document = json.loads(data)
        parameters = {name: value for name, value in document.get("parameters", {}).items() if name != "context"}
        return cls(document.get("system_prompt"), tuple(document.get("messages", ())), Options().changed(parameters))
