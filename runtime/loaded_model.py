"""A loaded model that answers in this process: what `import mlxbuild` offers without a server."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

from mlxbuild.registry.artifact.folder import model_folder
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.verified_blobs import VerifiedBlobs
from mlxbuild.runtime.engine.core.engine import Engine
from mlxbuild.runtime.engine.core.kv_cache import always_rewinds, fresh
from mlxbuild.runtime.engine.core.kv_cache_size import KVCacheSize
from mlxbuild.runtime.engine.core.limits import Limits
from mlxbuild.runtime.engine.core.model_executor import ModelExecutor
from mlxbuild.runtime.engine.core.perplexity import WINDOW_TOKENS, perplexity
from mlxbuild.runtime.engine.core.prepared_request import Prepared
from mlxbuild.runtime.engine.core.streams import AsyncStream, Stream
from mlxbuild.runtime.engine.embedding.batches import vectors_of
from mlxbuild.runtime.engine.embedding.inputs import Input, InputUnusable, rows_of
from mlxbuild.runtime.engine.input.conversation import Conversation
from mlxbuild.runtime.engine.input.defaults import Defaults
from mlxbuild.runtime.engine.input.keywords import ChatKeywords, GenerateKeywords, chat_request, completion_request
from mlxbuild.runtime.engine.input.preparation import OnlyEmbeds, Preparation
from mlxbuild.runtime.model.architecture import embedding_rows
from mlxbuild.runtime.model.batched import remember
from mlxbuild.runtime.model.drafting import require_same_tokens, require_writing
from mlxbuild.runtime.model.facts import LAST_STATE, BrokenFacts, ModelFacts
from mlxbuild.runtime.model.files import DEFAULTS_FILE, FACTS_FILE, TEMPLATE_FILE
from mlxbuild.runtime.model.infill import Infill
from mlxbuild.runtime.model.load import Weights
from mlxbuild.runtime.model.prompt import ChatTemplate
from mlxbuild.runtime.model.tokenizer import Tokenizer
from mlxbuild.runtime.protocol.events import Chunk, Embeddings, Prompt
from mlxbuild.runtime.protocol.requests import ChatRequest, CompletionRequest, Message, PromptRequest


class NotAnArtifactFolder(UserError):
    """A folder lacks the files that mlxbuild adds to every artifact."""

    code = "not-an-artifact-folder"


class LoadedModel:
    """One model, whose weights are loaded when they are first needed. Thread-safe; answers many requests at once."""

    def __init__(
        self,
        folder: Path,
        *,
        limits: Limits | None = None,
        memory_bytes: int | None = None,
        draft: LoadedModel | None = None,
        kv_bits: int | None = None,
        is_watched: bool = False,
    ) -> None:
        """Open a folder in the form of an artifact.

        `draft` is a smaller model with the same tokens, for speculative decoding of single answers. `memory_bytes` is
        what both may take (default: what the machine has left): converted weights take at most half of it, and caches a
        part of the rest. `kv_bits` is the default for requests that do not set it, if the model's keys and values can
        be quantized. `is_watched` says that this process is ended from outside when it hangs.

        Raises:
            NotAnArtifactFolder: it has no facts.
            BrokenFacts, BrokenDefaults, TemplateBroken, TokenizerUnreadable: its files cannot be used.
            DraftUnusable: the draft has other tokens, or is an embedding model.
        """
        self.folder = folder
        self._is_watched = is_watched
        self.facts = ModelFacts.from_json(_read(folder, FACTS_FILE))
        _require_rows(self.facts, folder)
        defaults = folder / DEFAULTS_FILE
        self.defaults = Defaults.from_json(defaults.read_bytes()) if defaults.is_file() else Defaults()
        if draft is not None:
            require_writing(draft.facts, str(draft.folder))
            require_same_tokens(draft.tokenizer, self.tokenizer, str(draft.folder))
        self._kv_bits = kv_bits
        self._computing: ModelExecutor = ModelExecutor(
            folder, limits or Limits(), memory_bytes, None if draft is None else draft._computing
        )

    @classmethod
    def open(
        cls, store: Store, digest: Digest, *, limits: Limits | None = None, draft: LoadedModel | None = None
    ) -> LoadedModel:
        """The model of an artifact, read through links into the store without copying. Files that have changed since
        they were last hashed are hashed again.

        Raises:
            BlobMissing, BlobCorrupt: the store lacks a blob, or a file has changed.
            NotAnArtifactFolder, BrokenFacts: the artifact was not made by mlxbuild.
        """
        VerifiedBlobs(store).require(file.blob.digest for file in Artifact.open(store, digest).files)
        model = cls(model_folder(store, digest), limits=limits, draft=draft)
        model._computing.on_batching = lambda batching: remember(store.home, digest, batching.told)
        return model

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Converts text to tokens and back."""
        return Tokenizer.open(self.folder, is_watched=self._is_watched)

    @cached_property
    def template(self) -> ChatTemplate | None:
        """Renders conversations into prompts; None for a model that only continues text."""
        file = self.folder / TEMPLATE_FILE
        return ChatTemplate(file.read_text(encoding="utf-8-sig"), self.facts.special_tokens) if file.is_file() else None

    @cached_property
    def capabilities(self) -> tuple[str, ...]:
        """The model's capabilities, by Ollama's names: those in the facts, and whether it can fill in the middle."""
        known = self.facts.capabilities
        return (*known, "insert") if "completion" in known and Infill.of(self.tokenizer) is not None else known

    @property
    def has_template(self) -> bool:
        """Whether it can chat, instead of only continuing text."""
        return self.template is not None

    def at(self, clock: Callable[[], datetime]) -> LoadedModel:
        """This model with another clock for templates that write the date. Weights and engine are shared."""
        other = copy.copy(self)
        other.__dict__["template"] = self.template and ChatTemplate(
            self.template.text, self.facts.special_tokens, clock=clock
        )
        other.__dict__.pop("_preparation", None)
        return other

    @property
    def weights(self) -> Weights:
        """The weights in memory, with the form in which they are held."""
        return self._computing.weights

    @property
    def engine(self) -> Engine:
        """The engine that computes all answers of this model."""
        return self._computing.engine(self.tokenizer)

    @cached_property
    def kv_bits(self) -> int | None:
        """The default number of bits for keys and values; None if they are not quantized."""
        if not self._kv_bits or (self.facts.embedding is not None and self.facts.embedding.writes_nothing):
            return None
        model = self.weights.model
        return self._kv_bits if self.engine.run(lambda: KVCacheSize.of(model)).result().group_size else None

    def close(self) -> None:
        """Fail the requests in progress and release the weights. Also done when the model is garbage-collected."""
        self._computing.close()

    def prepare(self, request: ChatRequest | CompletionRequest) -> Prepared:
        """A request prepared for the engine; see `runtime.engine.input.preparation` for its errors."""
        return self._preparation.prepare(request)

    def prompt_of(self, request: PromptRequest) -> Prompt:
        """The prompt of a request; raises what `prepare` does."""
        return self._preparation.prompt(request.of)

    def answer(self, request: ChatRequest | CompletionRequest) -> Stream:
        """All events of an answer, progress included. Errors of the request are raised before the first one."""
        prepared = self.prepare(request)
        return Stream(self.engine, prepared)

    def chat(self, messages: Sequence[Message], **asked: Unpack[ChatKeywords]) -> Iterator[Chunk]:
        """Answer a conversation: text, reasoning and tool calls as they are generated, the finish reason last.

        `think` is ignored by a model whose reasoning cannot be switched. An answer that ends with `stop`, and not by a
        stop sequence, has the `format`; with tools, it may consist of tool calls instead. Closing the iterator cancels
        the request.

        Raises:
            NoChatTemplate, ToolsNotTaken, InvalidConversation, TemplateRefuses, TemplateBroken, PromptUnusable,
            InvalidOption, InvalidSchema, FormatNotSupported: all before the first chunk.
            FormLost: the response format could not be enforced any longer.
        """
        return _chunks(self.answer(chat_request(messages, asked)))

    def chat_async(self, messages: Sequence[Message], **asked: Unpack[ChatKeywords]) -> AsyncIterator[Chunk]:
        """As `chat`, for `async for`."""
        return _chunks_async(AsyncStream(self.engine, self.prepare(chat_request(messages, asked))))

    def generate(self, prompt: str, **asked: Unpack[GenerateKeywords]) -> Iterator[Chunk]:
        """Continue a raw text, without a template; the answer is not parsed.

        Raises:
            PromptUnusable, InvalidOption, InvalidSchema, FormatNotSupported: before the first chunk.
            FormLost: the response format could not be enforced any longer.
        """
        return _chunks(self.answer(completion_request(prompt, asked)))

    def generate_async(self, prompt: str, **asked: Unpack[GenerateKeywords]) -> AsyncIterator[Chunk]:
        """As `generate`, for `async for`."""
        return _chunks_async(AsyncStream(self.engine, self.prepare(completion_request(prompt, asked))))

    def prompt(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        think: bool | str | None = None,
        system: str | None = None,
        **variables: Any,
    ) -> str:
        """The prompt that `chat` gives the model, including system prompt and preceding messages.

        A last message of the assistant is left open, for the model to continue. `variables` are passed to the template.

        Raises:
            NoChatTemplate: the artifact has none.
            ToolsNotTaken: there are tools, and the template does not support them.
            TemplateRefuses, TemplateBroken: the template does not accept the conversation.
        """
        request = chat_request(messages, ChatKeywords(tools=tools, think=think, system=system))
        return Conversation(request, self.facts, self.defaults, self.template).render(**variables)

    def tokenize(self, text: str, *, raw: bool = True) -> list[int]:
        """Token ids of a text; a raw one gets the tokenizer's special tokens (often `bos_token`)."""
        return self.tokenizer.encode(text, add_special_tokens=raw)

    def perplexity(
        self, text: str, *, window: int = WINDOW_TOKENS, checkpoint: Callable[[], None] = lambda: None
    ) -> float:
        """The perplexity of a text; see `engine.core.perplexity`. `checkpoint` is called on the engine's thread.

        Raises:
            PromptUnusable: the text has fewer than two tokens, or some that the model does not know.
            OnlyEmbeds: the model is an embedding model.
        """
        if self.facts.embedding is not None and self.facts.embedding.writes_nothing:
            raise OnlyEmbeds("a model that only turns texts into vectors has no perplexity")
        tokens, model, engine = self.tokenize(text), self.weights.model, self.engine

        def check() -> None:
            engine.checkpoint()
            checkpoint()

        rows = self.facts.vocabulary_size
        return engine.run(lambda: perplexity(model, tokens, rows=rows, window=window, checkpoint=check)).result()

    def embed(
        self,
        inputs: Sequence[Input],
        *,
        dimensions: int | None = None,
        truncates: bool = True,
        normalizes: bool = True,
        prompt: str | None = None,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> Embeddings:
        """One vector for each text, or row of token ids; running answers continue meanwhile.

        A model that was not made to embed uses the last token. `dimensions` keeps the first numbers of each vector.
        `prompt` names the model's prefix for texts of that kind, such as `query`. `is_wanted` is called regularly, and
        the rest is not computed once it returns false.

        Raises:
            CancelledError: `is_wanted` returned false.
            InputUnusable: an input has no tokens, or is too long and not to be truncated; or there is no such prompt.
            NotEmbedding: the architecture gives no access to hidden states, or has fewer dimensions.
            EmbeddingNotFinite: the model computed NaN or infinity.
        """
        facts = self.facts.embedding or LAST_STATE
        longest = self.facts.longest_input
        rows = rows_of(self.tokenizer, facts, inputs, longest=longest, truncates=truncates, prompt=prompt)
        if unknown := [token for row in rows for token in row if not 0 <= token < self.facts.vocabulary_size]:
            raise InputUnusable(f"the model has no token {unknown[0]}")
        vectors = vectors_of(
            self.engine,
            self.weights.model,
            rows,
            facts,
            normalizes=normalizes,
            dimensions=dimensions,
            is_wanted=is_wanted,
        )
        return Embeddings(vectors, sum(map(len, rows)))

    @cached_property
    def _preparation(self) -> Preparation:
        computing = self._computing
        return Preparation(
            self.facts,
            self.defaults,
            self.tokenizer,
            self.template,
            needs_boundaries=lambda: not always_rewinds(fresh(computing.weights.model)),
            kv_bits=lambda: self.kv_bits,
        )


def _chunks(stream: Stream) -> Iterator[Chunk]:
    return (event for event in stream if isinstance(event, Chunk))


def _chunks_async(stream: AsyncStream) -> AsyncIterator[Chunk]:
    return (event async for event in stream if isinstance(event, Chunk))


def _require_rows(facts: ModelFacts, folder: Path) -> None:
    """Check the facts' vocabulary size, as MLX reads beyond the end of an embedding without an error."""
    try:
        rows = embedding_rows(json.loads((folder / "config.json").read_bytes()))
    except (OSError, ValueError, AttributeError, RecursionError):
        return  # loading reports it
    if rows is not None and facts.vocabulary_size > rows:
        raise BrokenFacts(
            f"the facts speak of {facts.vocabulary_size:,} tokens, and config.json of {rows:,}",
            where=str(folder / FACTS_FILE),
            hint="build the artifact again",
        )


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError:
        raise NotAnArtifactFolder(
            f"{name} is missing", where=str(folder), hint="build the model with `mlxbuild create` first"
        ) from None
