"""What `run` and `chat` share: opening a model, sampling options, and printing an answer as it comes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlxbuild.cli.workspace import find, open_store, tell
from registry.quantities import format_seconds
from registry.trust.policy import admit
from runtime.model.blas import prefer_openblas

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runtime.protocol.events import Chunk, Ending, ToolCall
    from runtime.session import LoadedModel

System = Annotated[str | None, typer.Option("--system", help="A system prompt in place of the model's own.")]
Think = Annotated[bool | None, typer.Option("--think/--no-think", help="Let the model think first, if it can.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Print counts and speeds at the end.")]
Temperature = Annotated[float | None, typer.Option(help="0 is greedy.")]
Seed = Annotated[int | None, typer.Option(help="The same seed gives the same text.")]
MaxTokens = Annotated[int | None, typer.Option("--max-tokens", help="Tokens at most.")]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said."""

    text: str
    thinking: str
    tool_calls: tuple[ToolCall, ...]


@contextmanager
def open_model(name: str) -> Iterator[LoadedModel]:
    """The model of a name; its blobs are held in place as long as it is in use.

    Raises:
        UnknownReference: nothing in the store has that name.
        Untrusted: the trust policy asks for a signature that it does not have.
        NotRunnable: another tool made it, and it holds nothing to run.
    """
    with open_store() as store:
        reference, digest = find(store, name)
        admit(store, reference, digest, tell=tell)
        prefer_openblas()  # before anything loads MLX
        from runtime.session import LoadedModel
        from toolchain.interchange.completion import completed

        yield LoadedModel.open(store, completed(store, digest))


def options(temperature: float | None, seed: int | None, max_tokens: int | None) -> dict[str, Any]:
    """The options that were given; the model's own defaults hold for the rest."""
    given = {"temperature": temperature, "seed": seed, "max_tokens": max_tokens}
    return {name: value for name, value in given.items() if value is not None}


def print_answer(chunks: Iterable[Chunk], *, verbose: bool) -> Answer:
    """Write text to stdout and thinking to stderr as they come; returns all of it."""
    text: list[str] = []
    thinking: list[str] = []
    calls: list[ToolCall] = []
    ending: Ending | None = None
    for chunk in chunks:
        if chunk.thinking:
            thinking.append(chunk.thinking)
            sys.stderr.write(chunk.thinking)
            sys.stderr.flush()
        if chunk.text:
            if thinking and not text:
                sys.stderr.write("\n\n")
            text.append(chunk.text)
            sys.stdout.write(chunk.text)
            sys.stdout.flush()
        if chunk.tool_call is not None:
            calls.append(chunk.tool_call)
            call = chunk.tool_call.as_message_part()["function"]
            sys.stdout.write(json.dumps(call, ensure_ascii=False) + "\n")
        ending = chunk.ending or ending
    if text:
        sys.stdout.write("\n")
    sys.stdout.flush()
    if verbose and ending is not None:
        _tell_speed(ending)
    return Answer("".join(text), "".join(thinking), tuple(calls))


def _tell_speed(ending: Ending) -> None:
    speed = ending.answer_tokens / ending.answer_seconds if ending.answer_seconds else 0.0
    tell(
        f"{ending.reason}: {ending.prompt_tokens} prompt tokens ({ending.reused_tokens} reused) in "
        f"{format_seconds(ending.prompt_seconds)}, {ending.answer_tokens} tokens at {speed:.1f} tokens/s"
    )
