"""An artifact's defaults for requests, from the file `mlxbuild/defaults.json`. They are merged in `preparation`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from mlxbuild.registry.core.errors import UserError
from mlxbuild.runtime.engine.core.options import Options
from mlxbuild.runtime.model.files import DEFAULTS_FILE
from mlxbuild.runtime.protocol.requests import Message


class BrokenDefaults(UserError):
    """`mlxbuild/defaults.json` cannot be read by this version."""

    code = "broken-defaults"


@dataclass(frozen=True, slots=True)
class Defaults:
    """Default system prompt, messages and options."""

    system_prompt: str | None = None
    messages: tuple[Message, ...] = ()
    """Messages that precede every chat."""
    options: Options = field(default_factory=Options)

    @classmethod
    def from_json(cls, data: bytes) -> Defaults:
        """Read the file; `context` belongs to the facts, and is ignored here.

        Raises:
            BrokenDefaults: the file is not valid.
            InvalidOption: an unknown parameter, or one out of its range.
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
            raise _broken("system_prompt is not a string")
        if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
            raise _broken("messages is not a list of messages")
        return cls(prompt, tuple(messages), Options().changed(parameters))


def _broken(reason: str) -> BrokenDefaults:
    return BrokenDefaults(
        f"the defaults cannot be read: {reason}",
        where=DEFAULTS_FILE,
        hint="build the artifact again, or pull an undamaged copy",
    )
