"""Models with every format of tool calls, and random walks over what a grammar allows."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import tokenizers

from mlxbuild.runtime.engine.output.answer_parser import AnswerSplitter
from mlxbuild.runtime.engine.output.bare_tool_calls import BARE_FORMS
from mlxbuild.runtime.engine.structured_output.answer_grammar import answer_grammar
from mlxbuild.runtime.engine.structured_output.grammar import GrammarVocabulary
from mlxbuild.runtime.mlx_lm.package import submodule
from mlxbuild.runtime.model.facts import ModelFacts
from mlxbuild.runtime.model.tokenizer import Tokenizer
from mlxbuild.runtime.protocol.answers import Answer
from mlxbuild.runtime.protocol.events import ToolCall
from mlxbuild.runtime.protocol.requests import ToolChoice
from tests.runtime.tiny_folders import byte_tokenizer

STOP = 1
_TAGS = ("arg_key>", "arg_value>", "parameter>", "param>", "invoke>", "function>", "atem:parameter>", "atem:invoke>")
_MARKS = ('<|"|>', "<escape>", "[ARGS]", "<|sep|>", *(f"<{tag}" for tag in _TAGS), *(f"</{tag}" for tag in _TAGS))
_TEMPTING = ("null", "true", "12", *'}{",:])\0')
"""Texts that could break a format; special tokens and halves of end markers are added to them."""
_ENDING = {f"</{tag}" for tag in _TAGS} | {'<|"|>', "<escape>", '"', "}", "]", ")"}


class CallingModel:
    """A model that writes tool calls in the format of one of mlx-lm's parsers."""

    def __init__(self, parser: str, *, marked: bool) -> None:
        """`marked`: the tags around a call and its arguments are special tokens."""
        backend: Any = byte_tokenizer()
        module = None if parser in BARE_FORMS else submodule(f"tool_parsers.{parser}")
        start, end = (None, None) if module is None else (module.tool_call_start, module.tool_call_end)
        half = len(end or "") // 2
        plain = _TEMPTING if marked else (*_TEMPTING, *_MARKS, *((end[:half], end[half:]) if end else ()))
        backend.add_tokens(
            [tokenizers.AddedToken(text, special=True) for text in (start, end, *_MARKS) if text and marked]
        )
        backend.add_tokens([tokenizers.AddedToken(text) for text in plain if text])
        self.tokenizer = Tokenizer(backend)
        self.facts = ModelFacts(
            "any",
            None,
            self.tokenizer.vocabulary_size,
            None,
            (STOP,),
            tool_parser=parser,
            tool_call_start=start,
            tool_call_end=end,
        )
        added = self.tokenizer.added_tokens().items()
        self._tempting = {token for token, text in added if text in plain}
        self._ending = {token for text in _ENDING if (token := self.tokenizer.token_id(text)) is not None}

    @functools.cached_property
    def vocabulary(self) -> GrammarVocabulary:
        return GrammarVocabulary(self.tokenizer, self.facts)

    def grammar(self, tools: Sequence[Any], name: str | None = None) -> str:
        """The grammar of an answer that has to call one of the tools, or the named one."""
        choice = ToolChoice("required", name)
        return answer_grammar(self.facts, self.vocabulary, tools=tools, tool_choice=choice)

    def walk(self, grammar: str, seed: int) -> str | None:
        """A random text that the grammar allows; None if it would not end."""
        constraint: Any = self.vocabulary.constrain(grammar)
        dice, tokens = random.Random(seed), list[int]()
        logits = mx.zeros(self.tokenizer.vocabulary_size)
        while len(tokens) < 200:
            allowed = [token for token, logit in enumerate(constraint.mask(logits).tolist()) if logit == 0]
            if STOP in allowed:
                return self.tokenizer.decode(tokens)
            preferred = self._ending if len(tokens) > 50 and dice.random() < 0.8 else self._tempting
            chosen = [token for token in allowed if token in preferred]
            token = dice.choice(chosen if chosen and dice.random() < 0.8 else allowed)
            constraint.advance(token)
            tokens.append(token)
        return None

    def lets_through(self, grammar: str, text: str) -> bool:
        """Whether the whole text is allowed as an answer."""
        constraint: Any = self.vocabulary.constrain(grammar)
        for token in [*self.tokenizer.encode(text), STOP]:
            if constraint.mask(mx.zeros((1, self.tokenizer.vocabulary_size)))[0, token].item() != 0:
                return False
            constraint.advance(token)
        return True

    def read(self, text: str, tools: Sequence[Any]) -> list[ToolCall]:
        """The calls parsed from a whole answer."""
        splitter, answer = AnswerSplitter(self.facts, tools=tools, structured=True), Answer()
        for chunk in [*splitter.feed(text), *splitter.finish()]:
            answer.add(chunk)
        assert not answer.text, text
        return answer.tool_calls


@functools.cache
def calling_model(parser: str, *, marked: bool) -> CallingModel:
    """A model that is cached by its arguments."""
    return CallingModel(parser, marked=marked)
