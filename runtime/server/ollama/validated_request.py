"""The fields that `generate` and `chat` share: response format, thinking, options, log-probabilities, keep-alive."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from mlxbuild.runtime.engine.core.options import Options
from mlxbuild.runtime.protocol.requests import AnswerFormat
from mlxbuild.runtime.residency.keep_alive import KeepAlive
from mlxbuild.runtime.server.failures import InvalidRequest
from mlxbuild.runtime.server.inference.options import NativeOptions, read_options
from mlxbuild.runtime.server.ollama.body import ModelBody
from mlxbuild.runtime.server.ollama.failures import FormatOfWrongKind, lacks

_EFFORTS = ("low", "medium", "high", "max")
_MOST_ALTERNATIVES = 20


@dataclass(frozen=True, slots=True)
class ValidatedRequest:
    """The part of a request that is validated before the model is loaded."""

    options: NativeOptions
    format: AnswerFormat | None
    stays: KeepAlive | None
    """The keep-alive of the request; None if it has none."""


class QuestionBody(ModelBody):
    """The shared fields of the bodies of `generate` and `chat`."""

    stream: bool = True
    format: Any = None
    think: Any = None
    keep_alive: Any = None
    options: dict[str, Any] = Field(default_factory=dict)
    truncate: bool = True
    shift: bool = True
    logprobs: bool = False
    top_logprobs: int = 0
    debug_render_only: bool = Field(False, alias="_debug_render_only")

    def settled(self) -> ValidatedRequest:
        """Validate the fields that do not depend on the model.

        Raises:
            FormatOfWrongKind: `format` is neither `json` nor a schema.
            InvalidKeepAlive, InvalidOption, InvalidRequest, NotSupported, OptionOfWrongType: a field is invalid.
        """
        if not isinstance(self.think, bool | None) and self.think not in _EFFORTS:
            efforts = ", ".join(f'"{effort}"' for effort in _EFFORTS)
            raise InvalidRequest(
                f"invalid think value: {_written(self.think)} (must be {efforts}, true, or false)", where="think"
            )
        stays = None if self.keep_alive is None else KeepAlive.parse(self.keep_alive)
        return ValidatedRequest(self._options(), self._format(), stays)

    def thinking(self, capabilities: tuple[str, ...]) -> bool | str | None:
        """Whether the model thinks, or with which effort; by default it thinks if it can.

        Raises:
            NotSupported: thinking is requested, and the model does not support it.
        """
        wanted: bool | str | None = self.think
        if "thinking" not in capabilities:
            if wanted:
                raise lacks(self.named, "thinking")
            return None
        return True if wanted is None else wanted

    def _format(self) -> AnswerFormat | None:
        if self.format in (None, ""):
            return None
        if self.format == "json":
            return AnswerFormat()
        if isinstance(self.format, dict):
            return AnswerFormat(self.format)
        raise FormatOfWrongKind(
            f'invalid format: {_written(self.format)}; expected "json" or a valid JSON Schema object', where="format"
        )

    def _options(self) -> NativeOptions:
        if not 0 <= self.top_logprobs <= _MOST_ALTERNATIVES:
            raise InvalidRequest(f"top_logprobs must be between 0 and {_MOST_ALTERNATIVES}", where="top_logprobs")
        read = read_options(self.options)
        own: dict[str, Any] = {"counts_recent": True}  # as Ollama does, unless the option says otherwise
        if self.logprobs:
            own |= {"logprobs": True, "top_logprobs": self.top_logprobs}
        options = {**own, **read.options}
        Options().changed(options)  # validate before the model is loaded, and also if it is only loaded
        return NativeOptions(options, read.context_tokens)


def _written(value: Any) -> str:
    """The beginning of a value, as JSON."""
    return json.dumps(value, ensure_ascii=False)[:80]
