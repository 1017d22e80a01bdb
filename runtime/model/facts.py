"""Facts about a model, which are resolved when it is built and read before it is loaded. The toolchain finds them."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from mlxbuild.registry.core import canonical_json
from mlxbuild.registry.core.digest import Digest, InvalidDigest
from mlxbuild.registry.core.errors import UserError
from mlxbuild.runtime.model.files import FACTS_FILE
from mlxbuild.runtime.model.plausibility import MOST_TOKENS

SCHEMA = 1
_ANOTHER = "build the artifact again, or pull an undamaged copy"


class BrokenFacts(UserError):
    """`mlxbuild/facts.json` cannot be read by this version."""

    code = "broken-facts"


@dataclass(frozen=True, slots=True)
class EmbeddingFacts:
    """How a model turns a text into a vector."""

    pooling: Literal["mean", "cls", "last"]
    """The mean of all tokens' hidden states, or the hidden state of the first or the last token."""
    is_encoder: bool = False
    """Whether attention is bidirectional; such a model cannot generate text."""
    normalizes: bool = False
    """Whether vectors are always normalized, even if the request does not ask for it."""
    longest: int | None = None
    """How many tokens it was trained on, special ones included; None for the whole context."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    """Prefixes of inputs by their purpose: `query`, `document`, ..."""
    default_prompt: str | None = None
    """Name of the prompt for inputs for which none is named."""
    lacks_head: bool = False
    """Whether it is a decoder saved without its language-model head."""

    @property
    def writes_nothing(self) -> bool:
        """Whether it can only embed."""
        return self.is_encoder or self.lacks_head


LAST_STATE = EmbeddingFacts("last")
"""Embedding with a model that was not made for it: by the last token, the only one that attends to all others."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The facts of one artifact, `mlxbuild/facts.json`. The runtime guesses none of them."""

    model_type: str
    """mlx-lm's name of the architecture, as in `config.json`."""
    architecture: str | None
    """The first of `architectures` in `config.json`."""
    vocabulary_size: int
    """Rows of the output head, which may exceed the number of tokens in the tokenizer."""
    context_length: int | None
    """In tokens; None if the configuration sets no bound."""
    stop_token_ids: tuple[int, ...]
    """Tokens that end an answer; ascending."""
    stop_texts: tuple[str, ...] = ()
    """Stop sequences that end an answer and are not part of it."""
    takes_tools: bool = False
    """Whether the chat template supports tools, tool calls and their results."""
    tool_parser: str | None = None
    """A module of `mlx_lm.tool_parsers`, or a format of `engine.output.bare_tool_calls`, which has no markers."""
    tool_call_start: str | None = None
    tool_call_end: str | None = None
    """None or empty if a call extends to the end of the answer."""
    tool_arguments_as_text: bool = False
    """Whether the template expects the arguments of earlier calls as JSON text instead of an object."""
    think_start: str | None = None
    think_end: str | None = None
    thinking_switch: str | None = None
    """The template variable that turns reasoning on and off, such as `enable_thinking`."""
    appends_only: bool | None = None
    """Whether the prompt of a longer conversation always starts with that of the shorter one; None without a template.

    For people, who read it and the next one in `mlxbuild show`: if not, a turn finds less in the prefix cache.
    """
    first_rewritten: str | None = None
    """The first kind of conversation for which it does not."""
    chat_template: Digest | None = None
    special_tokens: Mapping[str, str] = field(default_factory=dict)
    """`bos_token`, `eos_token`, ...: template variables of these names."""
    tokenizer_adds_bos: bool = False
    """Whether encoding a raw prompt with special tokens prepends `bos_token`. For people, like `appends_only`."""
    kv_bytes_per_token: int | None = None
    """Size of an unquantized KV cache, with two bytes for each number unless `compute_dtype` differs; None where the
    architecture keeps another kind of state.
    """
    embedding: EmbeddingFacts | None = None
    """Set for an embedding model, which is used for nothing else."""
    compute_dtype: str | None = None
    """The type in which MLX computes and keeps keys and values, where some tensors make it wider than the weights; None
    where it is the type of the weights.
    """

    @property
    def capabilities(self) -> tuple[str, ...]:
        """The model's capabilities, by Ollama's names."""
        if self.embedding is not None:
            return ("embedding",)
        known = {"completion": True, "tools": self.takes_tools, "thinking": self.think_start is not None}
        return tuple(name for name, can in known.items() if can)

    @property
    def longest_input(self) -> int | None:
        """How many tokens of a request the model accepts: its context, or fewer where it was trained to embed fewer."""
        trained = None if self.embedding is None else self.embedding.longest
        return min((each for each in (self.context_length, trained) if each is not None), default=None)

    def to_json(self) -> bytes:
        """Canonical JSON with the number of its schema."""
        digest = None if self.chat_template is None else str(self.chat_template)
        document = {**asdict(self), "chat_template": digest, "schema": SCHEMA}
        if self.embedding is None:
            del document["embedding"]
        elif not self.embedding.lacks_head:
            del document["embedding"]["lacks_head"]
        if self.compute_dtype is None:
            del document["compute_dtype"]
        return canonical_json.encode(document)

    @classmethod
    def from_json(cls, data: bytes) -> ModelFacts:
        """Read the output of `to_json`; unknown fields of later versions are ignored.

        Raises:
            BrokenFacts: not JSON, another schema, or a field of a wrong type.
        """
        try:
            document = json.loads(data)
            if document["schema"] != SCHEMA:
                raise BrokenFacts(
                    f"the facts have schema {document['schema']}, this version reads {SCHEMA}",
                    where=FACTS_FILE,
                    hint="use the mlxbuild that built the artifact, or build it again",
                )
            known: dict[str, Any] = {
                name: document[name] for name in (field.name for field in fields(cls)) if name in document
            }
            for name in ("stop_token_ids", "stop_texts"):
                known[name] = tuple(known.get(name, ()))
            if known.get("chat_template") is not None:
                known["chat_template"] = Digest.parse(known["chat_template"])
            if known.get("embedding") is not None:
                names = {field.name for field in fields(EmbeddingFacts)}
                known["embedding"] = {name: value for name, value in known["embedding"].items() if name in names}
            facts: ModelFacts = _reader().validate_python(known)
            facts.to_json()  # raises on lone surrogates, which a runner could not send
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, InvalidDigest) as error:
            raise BrokenFacts(f"the facts cannot be read: {error}", where=FACTS_FILE, hint=_ANOTHER) from None
        if not 0 <= facts.vocabulary_size <= MOST_TOKENS:
            message = f"the facts speak of {facts.vocabulary_size:,} tokens, and no model has more than {MOST_TOKENS:,}"
            raise BrokenFacts(message, where=FACTS_FILE, hint=_ANOTHER)
        return facts


@functools.cache
def _reader() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(ModelFacts)
