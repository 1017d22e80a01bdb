"""The request body of a completion, and its conversion to requests to the model."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mlxbuild.runtime.protocol.requests import CompletionRequest
from mlxbuild.runtime.server.failures import InvalidRequest, NotSupported
from mlxbuild.runtime.server.openai.refused_fields import RefusedFields
from mlxbuild.runtime.server.openai.sampling import PenaltiesBody, StreamOptions, bound, given, with_seed
from mlxbuild.runtime.server.openai.structured_outputs import StructuredOutputsBody
from mlxbuild.runtime.server.openai.texts import Texts, each_of


class CompletionBody(PenaltiesBody, StructuredOutputsBody, RefusedFields):
    """`POST /v1/completions`."""

    prompt: Texts
    suffix: str | None = None
    """The text after the gap, for models that were trained to fill in the middle."""
    max_tokens: Annotated[int, Field(ge=-1)] | None = None
    """-1 generates until the model stops or the context is full; 0 only counts or echoes the prompt."""
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    """How many of the most likely tokens are returned at each position."""
    echo: bool | None = None
    best_of: Annotated[int, Field(ge=1)] | None = None
    stream_options: StreamOptions | None = None


def completion_requests(body: CompletionBody) -> list[CompletionRequest]:
    """The requests to the model: one for each choice of each prompt, the choices of the first prompt first.

    Raises:
        InvalidRequest: a prompt is empty.
        NotSupported: the body asks for something that this server cannot do.
    """
    if body.best_of is not None and body.best_of != (body.n or 1):
        raise NotSupported("this server returns every completion that it computes", where="best_of", hint="set n alone")
    if body.echo and body.logprobs is not None:
        raise NotSupported(
            "log-probabilities of the prompt are not supported", where="echo", hint="leave out one of the two"
        )
    prompts = each_of(body.prompt)
    if not all(prompts):
        raise InvalidRequest("a prompt is empty", where="prompt")
    options = body.sampling() | given(
        max_tokens=bound(body.max_tokens, body.n_predict) or None,
        logprobs=None if body.logprobs is None else True,
        top_logprobs=body.logprobs or None,
    )
    form = body.answer_format()
    return [
        CompletionRequest(
            prompt=prompt,
            suffix=body.suffix or None,
            format=form,
            options=with_seed(options, seed),
            context_tokens=body.context_tokens(),
            truncates=False,
        )
        for prompt in prompts
        for seed in body.seeds()
    ]
