"""Translates Ollama's `options`, which OpenAI's routes take, too, to those of `runtime.engine.core.options`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlxbuild.registry.core.errors import UserError
from mlxbuild.runtime.engine.core.options import MOST_DRAFT_TOKENS, InvalidOption
from mlxbuild.runtime.server.failures import NotSupported
from mlxbuild.runtime.server.logger import log

_SAME = ("temperature", "top_p", "min_p", "repeat_penalty", "repeat_last_n", "presence_penalty", "frequency_penalty")
_INTEGERS = frozenset({"num_ctx", "num_predict", "seed", "top_k", "repeat_last_n", "draft_num_predict", "kv_bits"})
_FLOATS = frozenset({*_SAME, "typical_p"}) - _INTEGERS
_LOADER_INTEGERS = frozenset({"num_keep", "num_batch", "num_gpu", "main_gpu", "num_thread"})
"""Options for llama.cpp's loader: their types are checked, but they have no effect."""
_BOOLEANS = frozenset({"use_mmap", "counts_recent"})
_DEPRECATED = frozenset(
    {"penalize_newline", "low_vram", "f16_kv", "logits_all", "vocab_only", "use_mlock", "tfs_z"}
    | {"mirostat", "mirostat_tau", "mirostat_eta"}
)
_OURS = ("kv_bits", "counts_recent")
_SMALLEST_CONTEXT = 4
NO_BOUND = 2**31 - 1
"""A `max_tokens` above any context length, which overrides the artifact's own limit."""


class OptionOfWrongType(UserError):
    """An option has a value of the wrong type."""

    code = "option-of-wrong-type"


@dataclass(frozen=True, slots=True)
class NativeOptions:
    """The options of a request, translated."""

    options: Mapping[str, Any] = field(default_factory=dict)
    """The options for `runtime.protocol.requests`."""
    context_tokens: int | None = None


def read_options(given: Mapping[str, Any]) -> NativeOptions:
    """Check and translate options. Unknown options are logged and ignored, as in Ollama; deprecated ones are ignored.

    Raises:
        OptionOfWrongType: an option has the wrong type.
        InvalidOption: an option that is checked here is out of range.
        NotSupported: an option would change the answer, but is not supported.
    """
    typed: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        if name in _INTEGERS | _LOADER_INTEGERS:
            typed[name] = int(_number(name, value, "integer"))
        elif name in _FLOATS:
            typed[name] = float(_number(name, value, "float32"))
        elif name in _BOOLEANS:
            _require(isinstance(value, bool), name, "boolean")
            typed[name] = value
        elif name == "stop":
            typed[name] = _texts(name, value)
        elif name not in _DEPRECATED:
            log.warning("option-ignored", option=str(name)[:80])
    return NativeOptions(_translated(typed), _context(typed))


def _translated(typed: Mapping[str, Any]) -> dict[str, Any]:
    options = {name: typed[name] for name in _SAME if name in typed}
    if typed.get("typical_p", 1.0) != 1.0:
        raise NotSupported("typical_p is not supported", where="options.typical_p", hint="use top_p or min_p")
    if "top_k" in typed:
        options["top_k"] = max(0, typed["top_k"])
    if options.get("top_p") == 0.0:  # only the most likely token is left
        options |= {"top_p": 1.0, "top_k": 1}
    if typed.get("seed", -1) >= 0:
        options["seed"] = typed["seed"]
    if predicted := typed.get("num_predict"):
        options["max_tokens"] = predicted if predicted > 0 else NO_BOUND
    if (drafted := typed.get("draft_num_predict")) is not None:
        if not 0 <= drafted <= MOST_DRAFT_TOKENS:
            raise InvalidOption(
                f"draft_num_predict cannot be {drafted}",
                where="options.draft_num_predict",
                hint=f"between 0 and {MOST_DRAFT_TOKENS}",
            )
        options["draft_tokens"] = drafted
    options |= {name: typed[name] for name in _OURS if name in typed}
    if "stop" in typed:
        options["stops"] = tuple(text for text in typed["stop"] if text)
    return options


def _context(typed: Mapping[str, Any]) -> int | None:
    tokens: int = typed.get("num_ctx", 0)
    return max(_SMALLEST_CONTEXT, tokens) if tokens > 0 else None


def _number(name: str, value: Any, kind: str) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    _require(is_number and abs(value) < 2**63, name, kind)
    return float(value) if kind == "float32" else value


def _texts(name: str, value: Any) -> list[str]:
    _require(isinstance(value, list), name, "array")
    _require(all(isinstance(text, str) for text in value), name, "array")
    return list(value)


def _require(holds: bool, name: str, kind: str) -> None:
    if not holds:
        raise OptionOfWrongType(f'option "{name}" must be of type {kind}', where=f"options.{name}")
