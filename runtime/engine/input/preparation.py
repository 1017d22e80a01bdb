"""Prepares requests for the engine: renders, tokenizes and resolves options. Nothing is computed by the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from mlxbuild.registry.core.errors import UserError
from mlxbuild.runtime.engine.core.constraint import Constraint
from mlxbuild.runtime.engine.core.options import InvalidOption, Options
from mlxbuild.runtime.engine.core.prefix_cache import common_beginning
from mlxbuild.runtime.engine.core.prepared_request import ContextExceeded, Prepared, PromptUnusable
from mlxbuild.runtime.engine.input.conversation import Conversation
from mlxbuild.runtime.engine.input.defaults import Defaults
from mlxbuild.runtime.engine.output.answer_parser import AnswerSplitter
from mlxbuild.runtime.engine.structured_output.answer_grammar import (
    Thinking,
    answer_grammar,
    needs_grammar,
    prompt_thinking,
)
from mlxbuild.runtime.engine.structured_output.errors import FormatNotSupported
from mlxbuild.runtime.engine.structured_output.grammar import GrammarVocabulary
from mlxbuild.runtime.model.facts import ModelFacts
from mlxbuild.runtime.model.infill import Infill
from mlxbuild.runtime.model.prompt import ChatTemplate
from mlxbuild.runtime.model.tokenizer import Tokenizer
from mlxbuild.runtime.protocol.events import Prompt
from mlxbuild.runtime.protocol.prompt_length import too_long
from mlxbuild.runtime.protocol.requests import ChatRequest, CompletionRequest, ToolChoice

EMBEDDING_HINT = "ask it for embeddings: `mlxbuild embed NAME TEXT`, or /v1/embeddings and /api/embed of the server"


class OnlyEmbeds(UserError):
    """An answer was requested from an embedding model."""

    code = "only-embeds"


class NoInfill(UserError):
    """A suffix was given to a model that has no tokens for filling in the middle."""

    code = "no-infill"


class Preparation:
    """Prepares requests for one model. Thread-safe: it runs on the caller's thread, so that no running answer waits."""

    def __init__(
        self,
        facts: ModelFacts,
        defaults: Defaults,
        tokenizer: Tokenizer,
        template: ChatTemplate | None,
        *,
        needs_boundaries: Callable[[], bool],
        kv_bits: Callable[[], int | None] = lambda: None,
    ) -> None:
        """The callables are called when needed, as their results are known only after the model is loaded.

        Args:
            needs_boundaries: Whether the model's KV cache cannot be rewound, so that checkpoints have to be kept.
            kv_bits: The default if neither the request nor the artifact sets it.
        """
        self._facts = facts
        self._defaults = defaults
        self._tokenizer = tokenizer
        self._template = template
        self._needs_boundaries = needs_boundaries
        self._kv_bits = kv_bits

    @cached_property
    def _vocabulary(self) -> GrammarVocabulary:
        return GrammarVocabulary(self._tokenizer, self._facts)

    def prepare(self, request: ChatRequest | CompletionRequest) -> Prepared:
        """Prepare a request. Every error of the request itself is raised here, before anything is computed.

        Raises:
            OnlyEmbeds: the model only embeds.
            NoChatTemplate, ToolsNotTaken, InvalidConversation, TemplateRefuses, TemplateBroken: for chats.
            NoInfill: there is a suffix, and the model was not trained to fill in the middle.
            PromptUnusable: no tokens, or some that the model does not know.
            ContextExceeded: more tokens than the context length.
            InvalidOption: an option has an unknown name or a value out of its range.
            InvalidSchema, FormatNotSupported: structured output is not possible in this form.
        """
        if self._facts.embedding is not None and self._facts.embedding.writes_nothing:
            raise OnlyEmbeds("the model only turns texts into vectors", hint=EMBEDDING_HINT)
        if isinstance(request, CompletionRequest):
            tokens = self._completion_tokens(request, most=self._context(request))
            prepared = self._prepared(request, tokens, is_structured=request.format is not None)
            return replace(prepared, constraint=self._constraint(request))
        conversation = self._conversation(request)
        rendered = self._rendered(conversation, request)
        tokens = [*request.preceding_tokens, *self._tokenizer.encode(rendered, most=self._context(request))]
        is_structured = request.format is not None or request.tool_choice.mode == "required"
        thinking = prompt_thinking(self._facts, rendered, request.think)
        return replace(
            self._prepared(request, tokens, is_structured=is_structured),
            splitter=AnswerSplitter(
                self._facts,
                tools=conversation.tools or None,
                thinking=thinking == "open",
                structured=is_structured,
                requires_call=request.tool_choice.mode == "required",
                allows_several=request.tool_choice.allows_several,
            ),
            constraint=self._constraint(request, conversation.tools, thinking),
            boundaries=self._boundaries(conversation, tokens, len(request.preceding_tokens)),
        )

    def prompt(self, request: ChatRequest | CompletionRequest) -> Prompt:
        """The prompt of a request.

        Raises:
            NoChatTemplate, ToolsNotTaken, InvalidConversation, TemplateRefuses, TemplateBroken: for chats.
        """
        if isinstance(request, CompletionRequest):
            tokens = self._completion_tokens(request)
            is_plain = isinstance(request.prompt, str) and not request.suffix
            text = str(request.prompt) if is_plain else self._tokenizer.decode(tokens)
            return Prompt(text, len(tokens))
        rendered = self._rendered(self._conversation(request), request)
        before = self._tokenizer.decode(request.preceding_tokens) if request.preceding_tokens else ""
        return Prompt(before + rendered, len(request.preceding_tokens) + len(self._tokenizer.encode(rendered)))

    def _conversation(self, request: ChatRequest) -> Conversation:
        return Conversation(request, self._facts, self._defaults, self._template)

    def _rendered(self, conversation: Conversation, request: ChatRequest) -> str:
        context = self._context(request)
        if context is None or not request.truncates:
            return conversation.render()
        room = context - len(request.preceding_tokens)
        return conversation.shortened(lambda rendered: len(self._tokenizer.encode(rendered, most=room)) < room)

    def _completion_tokens(self, request: CompletionRequest, most: int | None = None) -> list[int]:
        if request.suffix:
            infill = Infill.of(self._tokenizer)
            if infill is None:
                raise NoInfill("the model cannot fill a gap between two texts", hint="leave the suffix out")
            before = request.prompt if isinstance(request.prompt, str) else self._tokenizer.decode(request.prompt)
            return infill.tokens(self._tokenizer, before, request.suffix, most=most)
        if isinstance(request.prompt, str):
            return self._tokenizer.encode(request.prompt, add_special_tokens=True, most=most)
        return list(request.prompt)

    def _options(self, request: ChatRequest | CompletionRequest, *, is_structured: bool) -> Options:
        options = self._defaults.options.changed(request.options)
        if options.kv_bits is None:
            options = replace(options, kv_bits=self._kv_bits())
        if is_structured and (options.ignore_eos or options.min_tokens):
            name = "ignore_eos" if options.ignore_eos else "min_tokens"
            raise InvalidOption(
                f"{name} cannot be combined with structured output or a required tool call",
                hint="leave out one of the two",
            )
        if is_structured:  # the grammar ends it, unless the caller sets stop sequences
            return replace(options, stops=options.stops if request.options.get("stops") else ())
        return replace(options, stops=tuple(dict.fromkeys((*options.stops, *self._facts.stop_texts))))

    def _constraint(
        self,
        request: ChatRequest | CompletionRequest,
        tools: Sequence[Mapping[str, Any]] = (),
        thinking: Thinking = "off",
    ) -> Constraint | None:
        choice = request.tool_choice if isinstance(request, ChatRequest) else ToolChoice()
        text_grammars = request.text_grammars if isinstance(request, ChatRequest) else {}
        if not needs_grammar(request.format, tools, choice, text_grammars):
            return None
        try:
            grammar = answer_grammar(
                self._facts,
                self._vocabulary,
                format=request.format,
                tools=tools,
                tool_choice=choice,
                thinking=thinking,
                text_grammars=text_grammars,
                drops_space=isinstance(request, ChatRequest),  # the splitter drops it; a completion has no splitter
            )
        except FormatNotSupported:
            if request.format is None and choice.mode == "auto" and not text_grammars:
                return None  # a single call needs no grammar: the answer ends after it
            raise
        return self._vocabulary.constrain(grammar)

    def _prepared(
        self, request: ChatRequest | CompletionRequest, tokens: Sequence[int], *, is_structured: bool
    ) -> Prepared:
        options = self._options(request, is_structured=is_structured)
        if not tokens:
            raise PromptUnusable("the prompt has no tokens")
        rows = self._facts.vocabulary_size
        named = (*tokens, *options.logit_bias, *options.stop_token_ids)
        if unknown := [token for token in named if not 0 <= token < rows]:
            raise PromptUnusable(f"the model has no token {unknown[0]}", hint=f"its tokens are 0 to {rows - 1}")
        context = self._context(request)
        room = None if context is None else context - len(tokens)
        if room is not None and room < 1:
            raise ContextExceeded(too_long(len(tokens), context or 0), hint="shorten the prompt")
        limits = [limit for limit in (options.max_tokens, room) if limit is not None]
        ends = frozenset(token for token in self._facts.stop_token_ids if token < rows)
        own = frozenset(options.stop_token_ids)
        return Prepared(
            tokens=tuple(tokens),
            options=options,
            stop_tokens=own if options.ignore_eos else own | ends,
            ignored_tokens=ends - own if options.ignore_eos else frozenset(),
            limit=min(limits, default=None),
            wants_tokens=request.wants_tokens,
        )

    def _context(self, request: ChatRequest | CompletionRequest) -> int | None:
        sizes = [size for size in (request.context_tokens, self._facts.context_length) if size is not None]
        return min(sizes, default=None)

    def _boundaries(self, conversation: Conversation, tokens: Sequence[int], preceding: int) -> tuple[int, ...]:
        """Where other requests may differ: at the text of the last message, and where the answer starts."""
        if not self._needs_boundaries():
            return ()
        begun = self._tokenizer.encode(conversation.with_other_ending())
        unopened = self._tokenizer.encode(conversation.render(opens_answer=False))
        own = tuple(tokens[preceding:])
        common = {common_beginning(own, tuple(other)) for other in (begun, unopened)}
        return tuple(sorted(preceding + count for count in common if count))
