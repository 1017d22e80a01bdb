"""The lines of a chat that are commands, such as `/set system …`, and what they set. `chat_command` sends others."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from mlxbuild.cli.question import options
from mlxbuild.cli.workspace import tell
from mlxbuild.registry.core.errors import UserError

HELP = "/clear starts over · /bye or Ctrl-D ends · Ctrl-C stops an answer · /? lists all commands"
_COMMANDS = """\
/show                          prints the model's name, the system prompt and the parameters
/set system TEXT               sets the system prompt
/set parameter NAME VALUE      sets temperature, seed or max_tokens
/clear                         starts over
/bye, /exit, /quit or Ctrl-D   ends
Ctrl-C                         stops an answer
\"\"\"                            begins a text of several lines, and ends it"""
_COMMAND = re.compile(r"/(\w+|\?)(?:\s+(.*))?", re.ASCII | re.DOTALL)
_PARAMETERS = {"temperature": float, "seed": int, "max_tokens": int}
_OTHERWISE = {
    "save": "`mlxbuild create NAME -f Modelfile` makes a model with a system prompt and parameters",
    "load": "leave with /bye, and name the model: `mlxbuild chat NAME`",
}
"""Commands of Ollama's to what does the same here."""


@dataclass(slots=True)
class Chat:
    """A conversation and what is set for it."""

    name: str
    system: str | None
    chosen: dict[str, Any]
    messages: list[dict[str, Any]] = field(default_factory=list)


def is_command(line: str) -> bool:
    """Whether a line is a command, known or not: a path such as `/etc/hosts` is none."""
    return _COMMAND.fullmatch(line) is not None


def obey(line: str, chat: Chat) -> bool:
    """Do what a command says; false if it ends the chat."""
    match = _COMMAND.fullmatch(line)
    word, rest = (match[1], match[2] or "") if match is not None else ("", "")
    if word in ("bye", "exit", "quit"):
        return False
    if word == "clear":
        chat.messages.clear()
    elif word in ("help", "?"):
        tell(_COMMANDS)
    elif word == "show":
        _show(chat)
    elif word == "set":
        _set(rest, chat)
    else:
        tell(f"there is no command `/{word}`; {_OTHERWISE.get(word, '/? lists the commands')}")
    return True


def _show(chat: Chat) -> None:
    tell(f"model       {chat.name}")
    tell(f"system      {chat.system if chat.system is not None else 'as the model sets it'}")
    chosen = ", ".join(f"{key} {value}" for key, value in chat.chosen.items())
    tell(f"parameters  {chosen or 'as the model sets them'}")
    tell(f"`mlxbuild show {chat.name}` prints what the model sets")


def _set(rest: str, chat: Chat) -> None:
    what, _, value = rest.partition(" ")
    if what == "system" and value.strip():
        chat.system = value.strip().strip('"')
        return
    key, _, text = value.strip().partition(" ")
    if what != "parameter" or key not in _PARAMETERS:
        tell(
            f"there is nothing like `/set {rest}`; write `/set system TEXT`, or `/set parameter` and temperature, "
            "seed or max_tokens; `mlxbuild chat` also takes --system and --temperature"
        )
        return
    try:
        number = _PARAMETERS[key](text)
        options(**(dict.fromkeys(_PARAMETERS) | {key: number}))
    except ValueError:
        tell(f"`{text}` is not a value for {key}")
    except UserError as error:
        tell(": ".join(filter(None, (error.message, error.hint))))
    else:
        chat.chosen[key] = number
