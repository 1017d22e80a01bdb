"""`mlxbuild chat`: a conversation on the terminal."""

from __future__ import annotations

import contextlib
import sys
from typing import Annotated, Any

import typer

from mlxbuild.cli.chat_settings import HELP, Chat, is_command, obey
from mlxbuild.cli.conversation import Model, open_model, print_answer, thinking_of
from mlxbuild.cli.ending import Terminated
from mlxbuild.cli.question import (
    Effort,
    Embedded,
    Format,
    KeepAlive,
    LevelledThinking,
    MaxTokens,
    Seed,
    System,
    Temperature,
    Think,
    Verbose,
    answer_format,
    options,
    refuse_images,
    thinking,
)
from mlxbuild.cli.workspace import tell
from mlxbuild.runtime.protocol.requests import AnswerFormat

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_QUOTES = '"""'


@app.command(cls=LevelledThinking, epilog="mlxbuild chat hello")
def chat(
    name: Annotated[str, typer.Argument(help="Name or digest of an artifact.")],
    system: System = None,
    think: Think = None,
    effort: Effort = None,
    form: Format = None,
    temperature: Temperature = None,
    seed: Seed = None,
    max_tokens: MaxTokens = None,
    keepalive: KeepAlive = None,
    embedded: Embedded = False,
    verbose: Verbose = False,
) -> None:
    """Chat with a model; it remembers the conversation until you leave."""
    chosen = options(temperature, seed, max_tokens)
    wanted, wish = answer_format(form), thinking(think, effort)
    with open_model(name, embedded=embedded, keep_alive=keepalive) as model:
        converse(model, name, system=system, think=wish, form=wanted, chosen=chosen, verbose=verbose)


def converse(
    model: Model,
    name: str,
    *,
    system: str | None,
    think: bool | str | None,
    form: AnswerFormat | None,
    chosen: dict[str, Any],
    verbose: bool,
) -> None:
    """Take turns until the user leaves. Lines from a pipe are turns, too."""
    is_person = sys.stdin.isatty()
    if is_person:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - editing and history for input()
        tell(HELP)
    think = thinking_of(model, think)
    chat = Chat(name, system, dict(chosen))
    while (line := _next_text(is_person)) is not None:
        if is_command(line):
            if not obey(line, chat):
                return
        elif line:
            refuse_images(line)
            chat.messages.append({"role": "user", "content": line})
            try:
                chunks = model.chat(chat.messages, system=chat.system, think=think, format=form, **chat.chosen)
                answer = print_answer(chunks, verbose=verbose)
            except KeyboardInterrupt as interrupt:
                if not is_person or isinstance(interrupt, Terminated):
                    raise
                chat.messages.pop()
                tell("")
                continue
            chat.messages.append({"role": "assistant", "content": answer.text})


def _next_text(is_person: bool) -> str | None:
    """The next line, or all lines between two triple quotes; None at the end of input."""
    line = _next_line(is_person)
    if line is None or not line.startswith(_QUOTES):
        return line
    lines = [line.removeprefix(_QUOTES)]
    while not lines[-1].endswith(_QUOTES):
        following = _next_line(is_person, prompt="... ")
        if following is None:
            break
        lines.append(following)
    return "\n".join(lines).removesuffix(_QUOTES).strip()


def _next_line(is_person: bool, prompt: str = ">>> ") -> str | None:
    """The next line, stripped; None at the end of input. Ctrl-C discards the line being typed."""
    try:
        return input(prompt if is_person else "").strip()
    except EOFError:
        if is_person:
            tell("")
        return None
    except KeyboardInterrupt as interrupt:
        if not is_person or isinstance(interrupt, Terminated):
            raise
        tell("")
        return ""
