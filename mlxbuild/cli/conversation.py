"""Opens a model for `run` and `chat`, in this process or at a server, and streams its answers to the terminal."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Unpack

from mlxbuild.cli.acquire import find_or_explain, find_or_pull
from mlxbuild.cli.invocation import chosen_home
from mlxbuild.cli.workspace import PathNamed, find, open_store, tell
from mlxbuild.configuration.address import is_listening, server_address
from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.core.quantities import format_seconds
from mlxbuild.registry.core.reference import InvalidReference, Reference
from mlxbuild.registry.store.tags import UnknownReference
from mlxbuild.runtime.model.blas import prefer_openblas
from mlxbuild.runtime.protocol.requests import Message
from mlxbuild.runtime.residency.keep_alive import KeepAlive
from mlxbuild.toolchain.interchange.completion import runnable

if TYPE_CHECKING:
    from mlxbuild.runtime.engine.input.keywords import ConversationKeywords, GenerateKeywords
    from mlxbuild.runtime.protocol.events import Chunk, Embeddings, GenerationFinished, ToolCall
    from mlxbuild.serving.client import ServedModel


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """The answer of a model."""

    text: str
    thinking: str
    tool_calls: tuple[ToolCall, ...]


class Model(Protocol):
    """A model that answers, in this process or at a server."""

    @property
    def has_template(self) -> bool:
        """Whether it has a chat template, or can only complete a raw prompt."""

    @property
    def capabilities(self) -> tuple[str, ...]:
        """Its capabilities, by Ollama's names."""

    def chat(self, messages: Sequence[Message], **asked: Unpack[ConversationKeywords]) -> Iterator[Chunk]:
        """Answer a conversation."""

    def generate(self, prompt: str, **asked: Unpack[GenerateKeywords]) -> Iterator[Chunk]:
        """Complete a raw prompt."""

    def embed(self, inputs: Sequence[str], *, dimensions: int | None = None) -> Embeddings:
        """Compute one vector for each text."""


@contextmanager
def open_model(name: str, *, embedded: bool = False, keep_alive: str | None = None) -> Iterator[Model]:
    """Open the model of a name: at a running server that has the same model, else in this process.

    A model that neither has is pulled first, if its name says from which registry.

    Raises:
        InvalidKeepAlive: the keep-alive is invalid.
        UnknownReference: nothing in the store has that name.
        Untrusted: the trust policy requires a signature that it lacks.
        NotRunnable: another tool made it, and it cannot be run.
        UserError: the server refuses the request.
    """
    if keep_alive is not None:
        KeepAlive.parse(keep_alive)
    served = None if embedded else _served(name, keep_alive)
    if served is not None:
        yield served
        return
    with open_store() as store:  # protects its blobs from garbage collection while it is in use
        reference, digest = find_or_pull(store, name)
        prefer_openblas()  # before anything loads MLX
        from mlxbuild.runtime.loaded_model import LoadedModel

        yield LoadedModel.open(store, runnable(store, reference, digest, tell=tell))


def require_model(name: str, *, embedded: bool) -> None:
    """Check that a model could be opened, before other mistakes are told; one with a registry's name could be pulled.

    Raises:
        UnknownReference, PathNamed, NotARegistry: there is none.
    """
    if embedded or _served(name, None) is None:
        with open_store() as store:
            try:
                find_or_explain(store, name)
            except UnknownReference:
                if Reference.parse(name).host is None:
                    raise


def _served(name: str, keep_alive: str | None) -> ServedModel | None:
    """The model at a running server; None if there is no server, or this home has another model of that name."""
    home = chosen_home()
    if not is_listening(*server_address(home, os.environ)):
        return None  # the usual case, in which nothing more is imported
    from mlxbuild.serving.client import ServedModel, Server

    server = Server.find(home)
    if server is None:
        return None
    try:
        shown = server.post("/api/show", model=name)
    except (InvalidReference, UnknownReference):
        return None
    except UserError as error:  # such as a missing API key: this process must not answer instead
        error.hint = "; ".join(filter(None, (error.hint, "--embedded does not use a server")))
        raise
    try:
        with open_store() as store:
            if find(store, name)[1].hex != shown.get("digest"):
                return None
    except (UnknownReference, PathNamed):
        pass
    return ServedModel(server, name, bool(shown.get("template")), tuple(shown["capabilities"]), keep_alive)


def thinking_of(model: Model, wish: bool | str | None) -> bool | str | None:
    """The thinking option for a model: the one asked for, if it can think; by default it thinks."""
    if "thinking" not in model.capabilities:
        return None
    return True if wish is None else wish


def print_answer(chunks: Iterable[Chunk], *, verbose: bool) -> ModelAnswer:
    """Stream text to stdout and thinking to stderr; returns the whole answer."""
    text: list[str] = []
    thinking: list[str] = []
    calls: list[ToolCall] = []
    finish: GenerationFinished | None = None
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
        finish = chunk.finish or finish
    if text:
        sys.stdout.write("\n")
    sys.stdout.flush()
    if verbose and finish is not None:
        _tell_speed(finish)
    return ModelAnswer("".join(text), "".join(thinking), tuple(calls))


def _tell_speed(finish: GenerationFinished) -> None:
    speed = finish.answer_tokens / finish.answer_seconds if finish.answer_seconds else 0.0
    reused = f" ({finish.reused_tokens} reused)" if finish.reused_tokens else ""
    tell(
        f"{finish.reason}: {finish.prompt_tokens} prompt tokens{reused} in "
        f"{format_seconds(finish.prompt_seconds)}, {finish.answer_tokens} tokens at {speed:.1f} tokens/s"
    )
