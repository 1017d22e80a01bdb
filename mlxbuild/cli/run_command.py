"""`mlxbuild run`: answers one prompt."""

from __future__ import annotations

import os
import stat
import sys
from typing import Annotated

import typer

from mlxbuild.cli.chat_command import converse
from mlxbuild.cli.conversation import open_model, print_answer, require_model, thinking_of
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
from mlxbuild.registry.core.errors import UserError

app = typer.Typer(add_completion=False, rich_markup_mode=None)


class NoPrompt(UserError):
    """There is no prompt, and stdin is not a terminal."""

    code = "no-prompt"


@app.command(
    cls=LevelledThinking,
    epilog=('mlxbuild run hello "What is a lock?"\nmlxbuild run hello "Summarize this." < notes.txt'),
)
def run(
    name: Annotated[str, typer.Argument(help="Name or digest of an artifact.")],
    prompt: Annotated[list[str] | None, typer.Argument(help="The prompt; text from stdin is added to it.")] = None,
    system: System = None,
    think: Think = None,
    effort: Effort = None,
    form: Format = None,
    raw: Annotated[bool, typer.Option("--raw", help="Complete the prompt without a chat template.")] = False,
    temperature: Temperature = None,
    seed: Seed = None,
    max_tokens: MaxTokens = None,
    keepalive: KeepAlive = None,
    embedded: Embedded = False,
    verbose: Verbose = False,
) -> None:
    """Answer a prompt; the text streams to stdout. Without a prompt, on a terminal, this is `chat`.

    A running server answers, if it has the same model; otherwise the model is loaded in this process.
    """
    asked = "\n\n".join(part for part in (" ".join(prompt or ()), _piped()) if part)
    chosen = options(temperature, seed, max_tokens)
    if not asked and not sys.stdin.isatty():
        require_model(name, embedded=embedded)
        raise NoPrompt(
            "there is no prompt", hint='write one after the name, or send one: `echo "Hi" | mlxbuild run NAME`'
        )
    refuse_images(asked)
    wanted, wish = answer_format(form), thinking(think, effort)
    with open_model(name, embedded=embedded, keep_alive=keepalive) as model:
        if not asked:
            converse(model, name, system=system, think=wish, form=wanted, chosen=chosen, verbose=verbose)
        elif raw or not model.has_template:
            print_answer(model.generate(asked, format=wanted, **chosen), verbose=verbose)
        else:
            message = {"role": "user", "content": asked}
            wish = thinking_of(model, wish)
            chunks = model.chat([message], system=system, think=wish, format=wanted, **chosen)
            print_answer(chunks, verbose=verbose)


def _piped() -> str:
    """The text piped to stdin; empty for a terminal or closed stdin."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):
        return ""
    return sys.stdin.read().strip() if stat.S_ISFIFO(mode) or stat.S_ISREG(mode) else ""
