"""The section `serve` of config.yaml, key by key, with its defaults and the forms that values may have."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    field_validator,
)

from mlxbuild.registry.core import durations, sizes
from mlxbuild.registry.core.durations import setting_seconds
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.core.sizes import size_bytes
from mlxbuild.runtime.residency.keep_alive import FIVE_MINUTES, InvalidKeepAlive, KeepAlive


def _listed(value: Any) -> Any:
    """The environment writes lists with commas between."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _bytes(value: Any) -> int:
    if (found := size_bytes(value)) is None:
        raise ValueError("it is no size")
    return found


def _keep_alive(value: Any) -> KeepAlive:
    try:
        return value if isinstance(value, KeepAlive) else KeepAlive.from_setting(value)
    except InvalidKeepAlive:
        raise ValueError("it is no duration") from None


def _mapped(value: Any) -> Any:
    """The environment writes maps as `key=value` with commas between."""
    if not isinstance(value, str):
        return value
    pairs = [pair.partition("=") for pair in _listed(value)]
    mapped = {key.strip(): name.strip() for key, _, name in pairs}
    if len(mapped) < len(pairs) or not all(key and name for key, name in mapped.items()):
        raise ValueError("write model=draft, with commas between, each model once")
    return mapped


def _named(drafts: dict[str, str]) -> dict[str, str]:
    for name in drafts.values():
        try:
            Reference.parse(name)
        except MlxbuildError as error:
            raise ValueError(error.message) from None
    return drafts


def _bits(value: Any) -> int:
    """A number, or Ollama's word for the type of the numbers."""
    word = str(value).strip().lower()
    if word not in _BITS_OF_WORD:
        raise ValueError(f"write one of {', '.join(_BITS_OF_WORD)}")
    return _BITS_OF_WORD[word]


def _seconds(value: Any) -> float:
    if (found := setting_seconds(value)) is None:
        raise ValueError("it is no duration")
    return found


def _without_end(seconds: float) -> float:
    """None, or a negative time, is without end."""
    return seconds if seconds > 0 else math.inf


def _written(value: KeepAlive) -> str:
    return "forever" if value.seconds is None else f"{value.seconds:g}s"


@dataclass(frozen=True, slots=True)
class _Unit:
    """What a plain number counts, and how one with a unit is written."""

    plural: str
    forms: str


_BYTES, _SECONDS = _Unit("bytes", sizes.FORMS), _Unit("seconds", durations.FORMS)
_BITS_OF_WORD = {"8": 8, "4": 4, "0": 0, "none": 0, "q8_0": 8, "q4_0": 4, "f16": 0}

Texts = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Size = Annotated[int, BeforeValidator(_bytes), Field(ge=1000, le=10**18), _BYTES]
SizeOrNone = Annotated[int, BeforeValidator(_bytes), Field(ge=0, le=10**18), _BYTES]
Stay = Annotated[KeepAlive, BeforeValidator(_keep_alive), PlainSerializer(_written), _SECONDS]
Drafts = Annotated[dict[str, str], BeforeValidator(_mapped), AfterValidator(_named)]
Bits = Annotated[int, BeforeValidator(_bits)]
Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0.1, le=86_400), _SECONDS]
Patience = Annotated[float, BeforeValidator(_seconds), AfterValidator(_without_end), _SECONDS]
_MOST = 1_000_000


class ServeForm(BaseModel):
    """How a server behaves. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    host: str = "127.0.0.1"
    """The address to listen on. Any but loopback asks for API keys."""
    port: int = Field(11434, ge=0, le=65535)
    """0 takes a free one."""
    api_keys: Literal["auto", "always", "never"] = "auto"
    """Whether requests need a key: `auto` asks for one wherever other machines can reach the server."""
    origins: Texts = ()
    """Websites that may use the server, besides local ones; `*` stands for anything."""
    hosts: Texts = ()
    """Names by which a server on loopback is known, besides local ones."""
    requests_per_minute: int = Field(0, ge=0, le=_MOST)
    """Of one key, or one address; 0 is without bound."""
    max_connections: int = Field(4096, ge=1, le=_MOST)
    """Connections at once, as far as the process has descriptors for them."""
    max_connections_per_address: int = Field(256, ge=0, le=_MOST)
    """Those of one address that is not loopback; 0 is without bound."""
    header_seconds: Seconds = 30.0
    """For a request's header to arrive."""
    idle_seconds: Seconds = 120.0
    """That a connection may say nothing between two requests."""
    body_limit: Size = 100_000_000
    """Bytes of one request, blobs excepted."""
    blob_limit: Size = 10**12
    """Bytes of one blob."""
    body_seconds: Seconds = 60.0
    """For a request's body to arrive; of a blob, for the next piece of it."""
    body_rate: SizeOrNone = 1000
    """Bytes a second that a body has to come with at least; 0 is without bound."""
    grace_seconds: Annotated[float, BeforeValidator(_seconds), Field(ge=0, le=86_400), _SECONDS] = 15.0
    """For running answers to end when the server is stopped."""
    keep_alive: Stay = FIVE_MINUTES
    """How long a model stays in memory after its last request; negative is forever."""
    load_timeout: Patience = 300.0
    """How long a load may stand still; 0 is without bound."""
    max_loaded_models: int = Field(0, ge=0, le=_MOST)
    """Models in memory at once; 0 is three."""
    max_queue: int = Field(512, ge=1, le=_MOST)
    """Requests that may wait for loads."""
    max_transfers: int = Field(16, ge=1, le=1000)
    """Pulls, pushes and builds at once; more are answered with 503."""
    memory: SizeOrNone = 0
    """Bytes for all models together; 0 takes four fifths of what the machine has left."""
    context_length: int = Field(0, ge=0, le=2**31 - 1)
    """Tokens of context for requests that name none; 0 is the model's own."""
    kv_bits: Bits = 0
    """Bits of each number that is kept of a context, for requests that say nothing: 4, 8, or 0 for the model's own."""
    drafts: Drafts = Field(default_factory=dict)
    """What drafts for which models: a name or a pattern of names, and the name of a smaller model."""
    stored_responses: int = Field(1000, ge=0, le=_MOST)
    """Answers of `/v1/responses` that are kept for a while, in memory; 0 keeps none."""
    stored_responses_bytes: Size = 100_000_000
    """Of all of them together, as JSON."""
    stored_responses_age: Patience = 86_400.0
    """How long one is kept after it was last asked for; 0 is without bound."""
    preload: Texts = ()
    """Models that are loaded when the server begins."""
    pin: Texts = ()
    """Models that are loaded then, and never let go."""
    log: Literal["file", "stderr"] = "file"
    """`logs/serve.jsonl` in the home, or stderr."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_bytes: Size = 20_000_000
    """After which a new log file begins."""
    log_files: int = Field(5, ge=0, le=1000)
    """Earlier ones that are kept."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """Python counts `true` as 1, which nobody means who writes it."""
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation in (int, float):
            raise ValueError("write a number")
        return value


def told_number(key: str) -> str | None:
    """What a setting takes that is a number: from where to where, and how it is written; None of others."""
    rules = [each for rule in ServeForm.model_fields[key].metadata for each in (rule, *getattr(rule, "metadata", ()))]
    ends = [getattr(rule, end) for end in ("ge", "le") for rule in rules if hasattr(rule, end)]
    unit = next((rule for rule in rules if isinstance(rule, _Unit)), None)
    if not ends and unit is None:
        return None
    number = "a number" if unit is None else f"a number of {unit.plural}"
    reach = f" from {ends[0]:,} to {ends[1]:,}" if ends else ""
    return number + reach + ("" if unit is None else f", or one with a unit: {unit.forms}")
