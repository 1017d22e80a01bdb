"""What an artifact sets for requests that do not: the file `mlxbuild/defaults.json`. Who merges it: `preparation`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from mlxbuild.registry.core.errors import UserError
from mlxbuild.runtime.engine.core.options import Options
from mlxbuild.runtime.model.files import DEFAULTS_FILE
from mlxbuild.runtime.protocol.requests import Message


class BrokenDefaults(UserError):
    """`mlxbuild/defaults.json` is not what this version reads."""

    code = "broken-defaults"


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
            BrokenDefaults: it is no such file.
            InvalidOption: a parameter that this version does not know, or out of its range.
        """
        try:
            document = json.loads(data)
            given, prompt, messages = (
                document.get("parameters", {}),
                document.get("system_prompt"),
                document.get("messages", []),
            )
            parameters = {name: value for name, value in given.items() if name != "context"}
        except (ValueError, AttributeError, RecursionError) as error:
            raise _broken(str(error)) from None
        if not isinstance(prompt, str | None):
            raise _broken("system_prompt is no text")
        if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
            raise _broken("messages is no list of messages")
        return cls(prompt, tuple(messages), Options().changed(parameters))


def _broken(reason: str) -> BrokenDefaults:
    return BrokenDefaults(
        f"the defaults cannot be read: {reason}",
        where=DEFAULTS_FILE,
        hint="build the artifact again, or pull it from where it is sound",
    )
