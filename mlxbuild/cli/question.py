"""The options of a prompt on the command line, and their values. `conversation` sends the prompt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from mlxbuild.cli.command import Command
from mlxbuild.registry.core.errors import UserError
from mlxbuild.runtime.engine.core.options import Options
from mlxbuild.runtime.protocol.requests import AnswerFormat

System = Annotated[str | None, typer.Option("--system", help="A system prompt in place of the model's own.")]
Think = Annotated[
    bool | None,
    typer.Option("--think/--no-think", help="Let the model think first, if it can; or --think=EFFORT."),
]
Effort = Annotated[str | None, typer.Option("--effort", metavar="low|medium|high|max", help="Reasoning effort.")]
Format = Annotated[
    str | None,
    typer.Option(
        "--format", metavar="json|SCHEMA", help="Answer with JSON, or by a JSON Schema, given as text or as a file."
    ),
]
KeepAlive = Annotated[
    str | None, typer.Option("--keepalive", metavar="TIME", help="How long a server keeps the model, such as 5m.")
]
Embedded = Annotated[bool, typer.Option("--embedded", help="Run it in this process, even if a server runs.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Print counts and speeds at the end.")]
Temperature = Annotated[float | None, typer.Option(help="Between 0 and 10; 0 is greedy.")]
Seed = Annotated[int | None, typer.Option(help="The same seed gives the same text.")]
MaxTokens = Annotated[int | None, typer.Option("--max-tokens", help="Maximum number of tokens.")]

_EFFORTS = ("low", "medium", "high", "max")
_IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".gif")


class ImagesNotTaken(UserError):
    """A prompt names an image, but only text input is supported."""

    code = "images-not-taken"


class UnknownEffort(UserError):
    """There is no such reasoning effort."""

    code = "unknown-effort"


class UnreadableFormat(UserError):
    """A format is neither `json` nor a JSON Schema."""

    code = "unreadable-format"


class LevelledThinking(Command):
    """A command whose `--think` may have a value: `--think=high` is `--effort high`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Rewrite `--think=<effort>` to `--effort=<effort>`."""
        rewritten = [f"--effort={arg[8:]}" if arg.startswith("--think=") else arg for arg in args]
        return super().parse_args(ctx, rewritten)


def thinking(think: bool | None, effort: str | None) -> bool | str | None:
    """Whether to think, or the reasoning effort.

    Raises:
        UnknownEffort: there is no such effort.
    """
    if effort is None:
        return think
    if effort in ("true", "false"):
        return effort == "true"
    if effort not in _EFFORTS:
        raise UnknownEffort(f"`{effort}` is not a reasoning effort", hint=f"efforts are {', '.join(_EFFORTS)}")
    return effort


def answer_format(written: str | None) -> AnswerFormat | None:
    """The response format that `--format` asks for.

    Raises:
        UnreadableFormat: it is neither `json` nor a JSON Schema.
    """
    if written is None:
        return None
    if written == "json":
        return AnswerFormat()
    try:
        text = written if written.lstrip().startswith("{") else Path(written).read_text(encoding="utf-8")
        schema = json.loads(text)
    except (OSError, ValueError) as error:
        raise UnreadableFormat(f"the format cannot be read: {error}", hint="write json, a schema, or a file") from None
    if not isinstance(schema, dict):
        raise UnreadableFormat("a JSON Schema is an object", hint="write json, a schema, or a file")
    return AnswerFormat(schema)


def refuse_images(prompt: str) -> None:
    """Refuse a prompt that names an image file.

    Raises:
        ImagesNotTaken: a word of the prompt is the path of an image.
    """
    for word in prompt.split():
        path = word.strip("'\"")
        if path.lower().endswith(_IMAGES) and Path(path).is_file():
            raise ImagesNotTaken(f"`{path}` is an image, and only text input is supported")


def options(temperature: float | None, seed: int | None, max_tokens: int | None) -> dict[str, Any]:
    """The options that were given; the model's defaults apply to the rest.

    Raises:
        InvalidOption: a value is out of range.
    """
    given = {"temperature": temperature, "seed": seed, "max_tokens": max_tokens}
    Options().changed(given)
    return {name: value for name, value in given.items() if value is not None}
