"""What is known of a model before it is loaded, resolved when it was built. How it is found out: the toolchain."""

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
_ANOTHER = "build the artifact again, or pull it from where it is sound"


class BrokenFacts(UserError):
    """`mlxbuild/facts.json` is not what this version reads."""

    code = "broken-facts"


@dataclass(frozen=True, slots=True)
class EmbeddingFacts:
    """How a model turns a text into one vector."""

    pooling: Literal["mean", "cls", "last"]
    """The mean of all tokens' states, or the state of the first or the last one."""
    is_encoder: bool = False
    """Whether it reads in both directions; such a model writes nothing."""
    normalizes: bool = False
    """Whether its vectors have length 1 always, asked for or not."""
    longest: int | None = None
    """How many tokens it was trained to read, special ones included; None for the whole context."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    """Texts to put before an input, by what it is for: `query`, `document`, ..."""
    default_prompt: str | None = None
    """The name of the one that is put before inputs for which none is named."""
    lacks_head: bool = False
    """Whether it is a decoder that was saved without what writes."""

    @property
    def writes_nothing(self) -> bool:
        """Whether it can do nothing but embed."""
        return self.is_encoder or self.lacks_head


LAST_STATE = EmbeddingFacts("last")
"""How a model embeds that was not made to: by the last token, the only one that has seen all others."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The facts of one artifact, `mlxbuild/facts.json`. The runtime guesses none of them."""

    model_type: str
    """mlx-lm's name, as in `config.json`."""
    architecture: str | None
    """The first of `architectures` in `config.json`."""
    vocabulary_size: int
    """Rows of the output head, which may be more than the tokenizer has tokens."""
    context_length: int | None
    """In tokens; None when the configuration sets no bound."""
    stop_token_ids: tuple[int, ...]
    """Ascending. Any of them ends an answer."""
    stop_texts: tuple[str, ...] = ()
    """Any of them ends an answer, and is not part of it."""
    takes_tools: bool = False
    """Whether the template tells the model of tools, their calls and results."""
    tool_parser: str | None = None
    """A module below `mlx_lm.tool_parsers`, or a format of `engine.output.bare_tool_calls`, which has no markers."""
    tool_call_start: str | None = None
    tool_call_end: str | None = None
    """None or empty where a call runs to the end of the answer."""
    tool_arguments_as_text: bool = False
    """Whether the template wants the arguments of earlier calls as JSON text, not as an object."""
    think_start: str | None = None
    think_end: str | None = None
    thinking_switch: str | None = None
    """The template variable that turns thinking on and off, such as `enable_thinking`."""
    appends_only: bool | None = None
    """Whether a longer conversation always starts with the text of the shorter one; None without a template."""
    first_rewritten: str | None = None
    """The first kind of conversation for which it does not."""
    chat_template: Digest | None = None
    special_tokens: Mapping[str, str] = field(default_factory=dict)
    """`bos_token`, `eos_token`, ...: the variables of that name in the template."""
    tokenizer_adds_bos: bool = False
    """Whether encoding a raw prompt with special tokens puts `bos_token` before it."""
    kv_bytes_per_token: int | None = None
    """Of an unquantized cache, of two bytes a number unless `compute_dtype` says otherwise; None where the architecture
    keeps another kind of state."""
    embedding: EmbeddingFacts | None = None
    """Of a model that was made to embed; it is used for nothing else."""
    compute_dtype: str | None = None
    """What MLX computes in, and keeps keys and values in, where single tensors make that wider than the weights; None
    where it is the weights' own type."""

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What can be asked of the model, in Ollama's words."""
        if self.embedding is not None:
            return ("embedding",)
        known = {"completion": True, "tools": self.takes_tools, "thinking": self.think_start is not None}
        return tuple(name for name, can in known.items() if can)

    @property
    def longest_input(self) -> int | None:
        """How many tokens of one request the model takes: its context, or less where it was trained to embed less."""
        trained = None if self.embedding is None else self.embedding.longest
        return min((each for each in (self.context_length, trained) if each is not None), default=None)

    def to_json(self) -> bytes:
        """Canonical JSON, with the schema's number."""
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
        """Read what `to_json` wrote; fields that a later version added are left out.

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
            facts.to_json()  # as a runner sends it: halves of surrogate pairs are no text
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
