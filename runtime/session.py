"""A loaded model that answers in this process: what `import mlxbuild` gives, without any server."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from registry.artifact.folder import model_folder
from registry.digest import Digest
from registry.errors import UserError
from registry.store.layout import Store
from runtime.engine.answer import AnswerSplitter
from runtime.engine.answer_form import answer_grammar, needs_grammar, prompt_thinking
from runtime.engine.generate import Piece, stream
from runtime.engine.grammar import Constraint, GrammarVocabulary
from runtime.engine.options import Options
from runtime.engine.perplexity import WINDOW_TOKENS, perplexity
from runtime.engine.prompt_cache import PromptCache
from runtime.model.facts import ModelFacts
from runtime.model.files import DEFAULTS_FILE, FACTS_FILE, TEMPLATE_FILE
from runtime.model.load import Weights, load_weights
from runtime.model.prompt import ChatTemplate, check_conversation, with_arguments
from runtime.model.tokenizer import Tokenizer
from runtime.protocol.events import Chunk
from runtime.protocol.requests import AnswerFormat, Message, ToolChoice


class NoChatTemplate(UserError):
    """A chat was asked of a model that has no chat template."""

    code = "no-chat-template"


class ToolsNotTaken(UserError):
    """Tools were given to a model whose template does not tell it of them."""

    code = "tools-not-taken"


class NotAnArtifactFolder(UserError):
    """A folder lacks the files that mlxbuild puts into every artifact."""

    code = "not-an-artifact-folder"


@dataclass(frozen=True, slots=True)
class Defaults:
    """What an artifact sets for requests that do not, `mlxbuild/defaults.json`."""

    system_prompt: str | None = None
    messages: tuple[Message, ...] = ()
    """Conversation that precedes every chat."""
    options: Options = field(default_factory=Options)

    @classmethod
    def from_json(cls, data: bytes) -> Defaults:
        """Read the file; `context` is a fact and no option.

        Raises:
            InvalidOption: a parameter that this version does not know, or out of its range.
        """
        document = json.loads(data)
        parameters = {name: value for name, value in document.get("parameters", {}).items() if name != "context"}
        return cls(document.get("system_prompt"), tuple(document.get("messages", ())), Options().changed(parameters))


class LoadedModel:
    """One model. Weights are read when they are first needed. For one thread at a time."""

    def __init__(self, folder: Path) -> None:
        """Open a folder in the form of an artifact.

        Raises:
            NotAnArtifactFolder: it has no facts.
            BrokenFacts, TemplateBroken, TokenizerUnreadable: what it has cannot be used.
        """
        self.folder = folder
        self.facts = ModelFacts.from_json(_read(folder, FACTS_FILE))
        defaults = folder / DEFAULTS_FILE
        self.defaults = Defaults.from_json(defaults.read_bytes()) if defaults.is_file() else Defaults()

    @classmethod
    def open(cls, store: Store, digest: Digest) -> LoadedModel:
        """The model of an artifact, read through links into the store; nothing is copied.

        Raises:
            BlobMissing: the store does not hold all of it.
            NotAnArtifactFolder, BrokenFacts: it is not one that mlxbuild made.
        """
        return cls(model_folder(store, digest))

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Text to tokens and back."""
        return Tokenizer.open(self.folder)

    @cached_property
    def grammar_vocabulary(self) -> GrammarVocabulary:
        """What answers in a form are held to it by."""
        return GrammarVocabulary(self.tokenizer, self.facts)

    @cached_property
    def template(self) -> ChatTemplate | None:
        """How conversations become prompts; None for a model that only continues text."""
        file = self.folder / TEMPLATE_FILE
        return ChatTemplate(file.read_text(encoding="utf-8"), self.facts.special_tokens) if file.is_file() else None

    def at(self, clock: Callable[[], datetime]) -> LoadedModel:
        """This model with another clock for templates that write the date. Weights are shared."""
        other = copy.copy(self)
        other.__dict__["template"] = self.template and ChatTemplate(
            self.template.text, self.facts.special_tokens, clock=clock
        )
        return other

    @cached_property
    def weights(self) -> Weights:
        """The model in memory, with the form in which it is held."""
        return load_weights(self.folder)

    @cached_property
    def _cache(self) -> PromptCache:
        return PromptCache(self.weights.model)

    def chat(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_choice: ToolChoice | None = None,
        think: bool | None = None,
        system: str | None = None,
        format: AnswerFormat | None = None,  # noqa: A002
        **options: Any,
    ) -> Iterator[Chunk]:
        """Answer a conversation: text, thinking and tool calls as they come, the ending last.

        `options` are those of `Options`; what is not given is the artifact's default. `system` replaces its system
        prompt. A model that cannot switch its thinking ignores `think`. An answer that ends with `stop`, and not by a
        stop text, has the `format`; one with tools may be calls instead.

        Raises:
            NoChatTemplate, ToolsNotTaken, InvalidConversation, TemplateRefuses, TemplateBroken, PromptUnusable,
            InvalidOption, InvalidSchema, FormatNotSupported: all before the first chunk.
            FormLost: the answer could not be held to its form any longer.
        """
        choice = tool_choice or ToolChoice()
        tools = tools if choice.mode != "none" else None
        rendered = self.prompt(messages, tools=tools, think=think, system=system)
        thinking = prompt_thinking(self.facts, rendered, think)
        constraint, formed = None, format is not None or choice.mode == "required"
        if needs_grammar(format, tools or (), choice):
            grammar = answer_grammar(
                self.facts,
                self.grammar_vocabulary,
                format=format,
                tools=tools or (),
                tool_choice=choice,
                thinking=thinking,
            )
            constraint = self.grammar_vocabulary.constrain(grammar)
        splitter = AnswerSplitter(
            self.facts,
            tools=tools,
            thinking=thinking == "open",
            formed=formed,
        )
        return splitter.split(self._stream(self.tokenizer.encode(rendered), options, constraint, formed=formed))

    def generate(self, prompt: str, *, format: AnswerFormat | None = None, **options: Any) -> Iterator[Chunk]:  # noqa: A002
        """Continue a raw text, without template; nothing is split out of it.

        Raises:
            PromptUnusable, InvalidOption, InvalidSchema, FormatNotSupported: before the first chunk.
            FormLost: the answer could not be held to its form any longer.
        """
        constraint = None
        if format is not None:
            grammar = answer_grammar(self.facts, self.grammar_vocabulary, format=format)
            constraint = self.grammar_vocabulary.constrain(grammar)
        pieces = self._stream(self.tokenize(prompt), options, constraint, formed=format is not None)
        return (Chunk(piece.text, token=piece.token, score=piece.score, ending=piece.ending) for piece in pieces)

    def prompt(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        think: bool | None = None,
        system: str | None = None,
        **variables: Any,
    ) -> str:
        """The text that `chat` gives the model, system prompt and preceding messages included.

        A last message of the assistant is left open, for the model to continue.

        Raises:
            NoChatTemplate: the artifact has none.
            ToolsNotTaken: there are tools, and the template has no place for them.
            TemplateRefuses, TemplateBroken: the template does not take the conversation.
        """
        if self.template is None:
            raise NoChatTemplate("the model has no chat template", hint="give it a raw prompt instead")
        if tools and not self.facts.takes_tools:
            raise ToolsNotTaken("the model's chat template has no place for tools")
        if think is not None and self.facts.thinking_switch is not None:
            variables[self.facts.thinking_switch] = think
        whole = self._conversation(messages, system)
        continues = bool(whole) and whole[-1].get("role") == "assistant" and not whole[-1].get("tool_calls")
        return self.template.render(whole, tools, continue_final_message=continues, **variables)

    def tokenize(self, text: str, *, raw: bool = True) -> list[int]:
        """Token ids of a text; a raw one begins as the tokenizer begins texts (often with `bos_token`)."""
        return self.tokenizer.encode(text, add_special_tokens=raw)

    def perplexity(self, text: str, *, window: int = WINDOW_TOKENS) -> float:
        """How surprised the model is by a text; see `runtime.engine.perplexity`.

        Raises:
            PromptUnusable: the text has fewer than two tokens.
        """
        return perplexity(self.weights.model, self.tokenize(text), window=window)

    def _stream(
        self,
        prompt: list[int],
        options: Mapping[str, Any],
        constraint: Constraint | None = None,
        *,
        formed: bool = False,
    ) -> Iterator[Piece]:
        chosen = self.defaults.options.changed(options)
        stops = tuple(dict.fromkeys((*chosen.stops, *self.facts.stop_texts)))
        if formed:  # the grammar ends it; only the caller may cut a document
            stops = chosen.stops if options.get("stops") else ()
        return stream(
            self.weights.model,
            self.tokenizer,
            prompt,
            replace(chosen, stops=stops),
            stop_tokens=self.facts.stop_token_ids,
            context_length=self.facts.context_length,
            cache=self._cache,
            constraint=constraint,
        )

    def _conversation(self, messages: Sequence[Message], system: str | None) -> list[Message]:
        check_conversation(messages)
        given = list(messages)
        if system is None and given and given[0].get("role") == "system":
            system = str(given.pop(0).get("content") or "")
        system = self.defaults.system_prompt if system is None else system
        opening = [{"role": "system", "content": system}] if system else []
        whole = [*opening, *self.defaults.messages, *given]
        return [with_arguments(message, as_text=self.facts.tool_arguments_as_text) for message in whole]


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError:
        raise NotAnArtifactFolder(
            f"{name} is missing", where=str(folder), hint="build the model with `mlxbuild create` first"
        ) from None
