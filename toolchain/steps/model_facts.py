"""Derives the facts of a model from its configuration, tokenizer and template."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mlxbuild.registry.core.digest import Digest
from mlxbuild.runtime.engine.output.bare_tool_calls import BARE_FORMS
from mlxbuild.runtime.mlx_lm.package import functions, submodule
from mlxbuild.runtime.model.architecture import is_encoder
from mlxbuild.runtime.model.facts import EmbeddingFacts, ModelFacts
from mlxbuild.runtime.model.prompt import ChatTemplate
from mlxbuild.runtime.model.tokenizer import Tokenizer
from mlxbuild.toolchain.steps import golden
from mlxbuild.toolchain.steps.embedding_facts import positions_of

_SPECIAL_TOKENS = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)
"""Special tokens with names in transformers; templates see them as variables."""
_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "seq_length", "n_ctx")
_OTHER_STATE = ("kv_lora_rank", "ssm_cfg", "mamba_d_state", "state_size", "linear_num_key_heads", "conv_L_cache")
"""Configuration keys of architectures whose KV cache does not just hold keys and values of every head."""
_SWITCHES = ("enable_thinking", "thinking")


def find_facts(
    *,
    config: Mapping[str, Any],
    generation_config: Mapping[str, Any],
    tokenizer_config: Mapping[str, Any],
    special_tokens: Mapping[str, str],
    tokenizer: Tokenizer,
    template: ChatTemplate | None,
    defaults: Mapping[str, Any],
    embedding: EmbeddingFacts | None = None,
    strict: bool = False,
    compute: str | None = None,
) -> ModelFacts:
    """All facts of a model. `defaults` may set `stops` and `context`; `compute` is MLX's compute dtype, if known.

    `strict` requires that the template works with tools; for a model's own template, the user may be unable to fix it.

    Raises:
        TemplateBroken, TemplateEscapes, TemplateRefuses: see `golden.try_template`.
    """
    text_config = {**config, **(config.get("text_config") or {})}
    ending = _Ending(tokenizer, template)
    return ModelFacts(
        model_type=str(config.get("model_type", "")),
        architecture=next(iter(_as_list(config.get("architectures"))), None),
        vocabulary_size=int(text_config.get("vocab_size") or tokenizer.vocabulary_size),
        context_length=_context(text_config, defaults),
        stop_token_ids=tuple(
            sorted({*_configured_stops(config, generation_config, special_tokens, tokenizer), *ending.stop_token_ids})
        ),
        stop_texts=tuple(dict.fromkeys((*defaults.get("stops", ()), *ending.stop_texts))),
        special_tokens=dict(special_tokens),
        tokenizer_adds_bos=_adds_bos(tokenizer, special_tokens.get("bos_token")),
        kv_bytes_per_token=None if is_encoder(config) else _kv_bytes(text_config, 4 if compute == "float32" else 2),
        compute_dtype=compute,
        embedding=embedding,
        **(_template_facts(template, tokenizer, tokenizer_config, strict) if template is not None else {}),
    )


def template_warnings(template: ChatTemplate, facts: ModelFacts, tokenizer: Tokenizer) -> list[str]:
    """Warnings about a template that can be used, one sentence each."""
    warned = []
    if not facts.takes_tools and golden.tool_arguments(template, strict=False) is not None:
        warned.append(
            "the chat template lists tools, but it is not known how the model's calls are read: "
            "`tools` is no capability"
        )
    written = tokenizer.encode(golden.question(template) + golden.after_answer(template))
    beyond = next((token for token in written if token >= facts.vocabulary_size), None)
    if beyond is not None:
        text = tokenizer.piece(beyond)[0]
        warned.append(
            f"the chat template writes `{text}`, token {beyond}, but config.json speaks of {facts.vocabulary_size} "
            "embeddings: does the tokenizer belong to the model?"
        )
    return warned


def named_special_tokens(tokenizer_config: Mapping[str, Any], special_tokens_map: Mapping[str, Any]) -> dict[str, str]:
    """Special tokens such as `bos_token` by name; tokenizer_config.json takes precedence."""
    found = {}
    for name in _SPECIAL_TOKENS:
        value = tokenizer_config.get(name, special_tokens_map.get(name))
        content = value.get("content") if isinstance(value, Mapping) else value
        if isinstance(content, str):
            found[name] = content
    return found


class _Ending:
    """How the template ends an answer: by control tokens, or by text that is tokenized normally."""

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate | None) -> None:
        self.stop_token_ids: tuple[int, ...] = ()
        self.stop_texts: tuple[str, ...] = ()
        tail = golden.after_answer(template) if template is not None else ""
        if not tail.strip():
            return
        first = tokenizer.encode(tail.lstrip())[0]
        if first in tokenizer.added_tokens():
            self.stop_token_ids = (first,)
        else:
            self.stop_texts = (tail.strip(),)


def _template_facts(
    template: ChatTemplate, tokenizer: Tokenizer, tokenizer_config: Mapping[str, Any], strict: bool
) -> dict[str, Any]:
    golden.try_template(template)
    arguments = golden.tool_arguments(template, strict=strict)
    switch = _thinking_switch(template)
    rewritten = golden.first_rewritten(template, switch, arguments)
    view = _MlxLmView(template, tokenizer)
    think_start, think_end = _think_markers(view)
    parser = _tool_parser(view, tokenizer_config)
    markers = submodule(f"tool_parsers.{parser}") if parser else None
    if parser is None:
        key = golden.bare_call_key(template, arguments)
        parser = next((form for form, of_form in BARE_FORMS.items() if of_form == key), None)
    return {
        "chat_template": Digest.of_bytes(template.text.encode()),
        "tool_parser": parser,
        "tool_call_start": getattr(markers, "tool_call_start", None),
        "tool_call_end": getattr(markers, "tool_call_end", None),
        "takes_tools": arguments is not None and parser is not None,
        "tool_arguments_as_text": arguments == "text",
        "think_start": think_start,
        "think_end": think_end,
        "thinking_switch": switch,
        "appends_only": rewritten is None,
        "first_rewritten": rewritten,
    }


class _MlxLmView:
    """The attributes of a transformers tokenizer that mlx-lm's inference reads."""

    def __init__(self, template: ChatTemplate, tokenizer: Tokenizer) -> None:
        self.chat_template = template.text
        self._tokenizer = tokenizer
        self._vocabulary = tokenizer.vocabulary()

    def get_vocab(self) -> dict[str, int]:
        return self._vocabulary

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=add_special_tokens)


def _tool_parser(view: _MlxLmView, tokenizer_config: Mapping[str, Any]) -> str | None:
    """mlx-lm's name of the tool parser, by its own rules, without importing transformers."""
    written = tokenizer_config.get("tool_parser_type")
    if isinstance(written, str):
        return written
    found: str | None = _inferences()["_infer_tool_parser"](view)
    return found


def _think_markers(view: _MlxLmView) -> tuple[str | None, str | None]:
    start, end, *_ = _inferences()["_infer_thinking"](view)
    if start is None and "<think>" in view.chat_template and "</think>" in view.chat_template:
        return "<think>", "</think>"
    return start, end


@functools.cache
def _inferences() -> Mapping[str, Callable[[_MlxLmView], Any]]:
    return functions("tokenizer_utils", "_infer_tool_parser", "_infer_thinking", "_is_xtml_vocab")


def _thinking_switch(template: ChatTemplate) -> str | None:
    """The template's variable that turns thinking on or off, found by its effect on a prompt; else None."""
    for name in _SWITCHES:
        if name in template.variables:
            on, off = (golden.question(template, **{name: value}) for value in (True, False))
            if on != off:
                return name
    return None


def _configured_stops(
    config: Mapping[str, Any],
    generation_config: Mapping[str, Any],
    special_tokens: Mapping[str, str],
    tokenizer: Tokenizer,
) -> Iterator[int]:
    for source in (config, config.get("text_config") or {}, generation_config):
        yield from (number for number in _as_list(source.get("eos_token_id")) if isinstance(number, int))
    end = tokenizer.token_id(special_tokens.get("eos_token", ""))
    if end is not None:
        yield end


def _context(text_config: Mapping[str, Any], defaults: Mapping[str, Any]) -> int | None:
    sizes = (defaults.get("context"), positions_of(text_config), *(text_config.get(key) for key in _CONTEXT_KEYS))
    return next((size for size in sizes if isinstance(size, int)), None)


def _adds_bos(tokenizer: Tokenizer, bos_token: str | None) -> bool:
    bos = tokenizer.token_id(bos_token) if bos_token else None
    return bos is not None and tokenizer.encode("a", add_special_tokens=True)[:1] == [bos]


def _kv_bytes(text_config: Mapping[str, Any], number_bytes: int) -> int | None:
    if any(text_config.get(key) for key in _OTHER_STATE):
        return None
    layers, heads, hidden = (
        text_config.get(key) for key in ("num_hidden_layers", "num_attention_heads", "hidden_size")
    )
    if not (layers and heads and hidden):
        return None
    head_size = text_config.get("head_dim") or hidden // heads
    return int(2 * layers * (text_config.get("num_key_value_heads") or heads) * head_size * number_bytes)


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
