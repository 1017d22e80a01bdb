"""`mlxbuild chat`: a conversation on the terminal."""

from __future__ import annotations

import contextlib
import sys
from typing import Annotated, Any

import typer

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

_HELP = "/clear starts over · /bye or Ctrl-D ends · Ctrl-C stops an answer"


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
        converse(model, system=system, think=wish, form=wanted, chosen=chosen, verbose=verbose)


def converse(
    model: Model,
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
        tell(_HELP)
    think = thinking_of(model, think)
    conversation: list[dict[str, Any]] = []
    while (line := _next_line(is_person)) is not None:
        if line in ("/bye", "/exit", "/quit"):
            return
        if line == "/clear":
            conversation.clear()
        elif line in ("/help", "/?") or (is_person and line.startswith("/") and " " not in line):
            tell(_HELP)
        elif line:
            refuse_images(line)
            conversation.append({"role": "user", "content": line})
            try:
                chunks = model.chat(conversation, system=system, think=think, format=form, **chosen)
                answer = print_answer(chunks, verbose=verbose)
            except KeyboardInterrupt as interrupt:
                if not is_person or isinstance(interrupt, Terminated):
                    raise
                conversation.pop()
                tell("")
                continue
            conversation.append({"role": "assistant", "content": answer.text})


def _next_line(is_person: bool) -> str | None:
    """The next line, stripped; None at the end of input. Ctrl-C discards the line being typed."""
    try:
        return input(">>> " if is_person else "").strip()
    except EOFError:
        if is_person:
            tell("")
        return None
    except KeyboardInterrupt as interrupt:
        if not is_person or isinstance(interrupt, Terminated):
            raise
        tell("")
        return ""
