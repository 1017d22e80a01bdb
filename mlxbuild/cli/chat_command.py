"""`mlxbuild chat`: a conversation on the terminal."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlxbuild.cli.conversation import (
    MaxTokens,
    Seed,
    System,
    Temperature,
    Think,
    Verbose,
    open_model,
    options,
    print_answer,
)
from mlxbuild.cli.workspace import tell

if TYPE_CHECKING:
    from runtime.session import LoadedModel

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_HELP = "/clear starts anew · /bye or Ctrl-D ends · Ctrl-C stops an answer"


@app.command()
def chat(
    name: Annotated[str, typer.Argument(help="Name or digest of an artifact.")],
    system: System = None,
    think: Think = None,
    temperature: Temperature = None,
    seed: Seed = None,
    max_tokens: MaxTokens = None,
    verbose: Verbose = False,
) -> None:
    """Talk with a model; it remembers the conversation until you leave."""
    with open_model(name) as model:
        chosen = options(temperature, seed, max_tokens)
        converse(model, system=system, think=think, chosen=chosen, verbose=verbose)


def converse(
    model: LoadedModel, *, system: str | None, think: bool | None, chosen: dict[str, Any], verbose: bool
) -> None:
    """Take turns until the person has enough. Lines that come through a pipe are turns, too."""
    is_person = sys.stdin.isatty()
    if is_person:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401 - editing and history for input()
        tell(_HELP)
    conversation: list[dict[str, Any]] = []
    while (line := _next_line(is_person)) is not None:
        if line in ("/bye", "/exit", "/quit"):
            return
        if line == "/clear":
            conversation.clear()
        elif line in ("/help", "/?") or (is_person and line.startswith("/") and " " not in line):
            tell(_HELP)
        elif line:
            conversation.append({"role": "user", "content": line})
            try:
                chunks = model.chat(conversation, system=system, think=think, **chosen)
                answer = print_answer(chunks, verbose=verbose)
            except KeyboardInterrupt:
                conversation.pop()
                tell("")
                continue
            conversation.append({"role": "assistant", "content": answer.text})


def _next_line(is_person: bool) -> str | None:
    """The next line, without what surrounds it; None at the end. Ctrl-C drops a line that is being written."""
    try:
        return input(">>> " if is_person else "").strip()
    except EOFError:
        if is_person:
            tell("")
        return None
    except KeyboardInterrupt:
        if not is_person:
            raise
        tell("")
        return ""
