"""The schema of the section `serve` of config.yaml: its keys, their defaults and the syntax of their values."""

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
from mlxbuild.registry.core.quantities import format_bytes
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.core.sizes import size_bytes
from mlxbuild.runtime.residency.keep_alive import FIVE_MINUTES, InvalidKeepAlive, KeepAlive


def listed(value: Any) -> Any:
    """Parse a list from the environment, separated by commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _bytes(value: Any) -> int:
    if (found := size_bytes(value)) is None:
        raise ValueError("it is not a size")
    return found


def _room_for_a_model(size_bytes: int) -> int:
    """Refuse a memory that no model fits into, which is most often a size without its unit."""
    if 0 < size_bytes < _LEAST_MEMORY_BYTES:
        told = f"`{size_bytes}GB`" if size_bytes < 1000 else sizes.FORMS
        raise ValueError(f"no model fits into {format_bytes(size_bytes)}; write a size with its unit, such as {told}")
    return size_bytes


def _keep_alive(value: Any) -> KeepAlive:
    try:
        return value if isinstance(value, KeepAlive) else KeepAlive.from_setting(value)
    except InvalidKeepAlive:
        raise ValueError("it is not a duration") from None


def mapped(value: Any) -> Any:
    """Parse a mapping from the environment: `key=value`, separated by commas."""
    if not isinstance(value, str):
        return value
    pairs = [pair.partition("=") for pair in listed(value)]
    found = {key.strip(): name.strip() for key, _, name in pairs}
    if len(found) < len(pairs) or not all(key and name for key, name in found.items()):
        raise ValueError("write model=draft pairs separated by commas, each model once")
    return found


def _named(drafts: dict[str, str]) -> dict[str, str]:
    for name in drafts.values():
        try:
            Reference.parse(name)
        except MlxbuildError as error:
            raise ValueError(error.message) from None
    return drafts


def _bits(value: Any) -> int:
    """Parse a number of bits, or Ollama's name of a KV cache type."""
    word = str(value).strip().lower()
    if word not in _BITS_OF_WORD:
        raise ValueError(f"write one of {', '.join(_BITS_OF_WORD)}")
    return _BITS_OF_WORD[word]


def _seconds(value: Any) -> float:
    if (found := setting_seconds(value)) is None:
        raise ValueError("it is not a duration")
    return found


def _without_end(seconds: float) -> float:
    """Map None and negative times to infinity."""
    return seconds if seconds > 0 else math.inf


def _written(value: KeepAlive) -> str:
    return "forever" if value.seconds is None else f"{value.seconds:g}s"


@dataclass(frozen=True, slots=True)
class _Unit:
    """The unit of a plain number, and examples of values with a unit."""

    plural: str
    forms: str


_BYTES, _SECONDS = _Unit("bytes", sizes.FORMS), _Unit("seconds", durations.FORMS)
_BITS_OF_WORD = {"8": 8, "4": 4, "0": 0, "none": 0, "q8_0": 8, "q4_0": 4, "f16": 0}

Texts = Annotated[tuple[str, ...], BeforeValidator(listed)]
Size = Annotated[int, BeforeValidator(_bytes), Field(ge=1000, le=10**18), _BYTES]
SizeOrNone = Annotated[int, BeforeValidator(_bytes), Field(ge=0, le=10**18), _BYTES]
Stay = Annotated[KeepAlive, BeforeValidator(_keep_alive), PlainSerializer(_written), _SECONDS]
Drafts = Annotated[dict[str, str], BeforeValidator(mapped), AfterValidator(_named)]
Bits = Annotated[int, BeforeValidator(_bits)]
Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0.1, le=86_400), _SECONDS]
Patience = Annotated[float, BeforeValidator(_seconds), AfterValidator(_without_end), _SECONDS]
_MOST = 1_000_000
_LEAST_MEMORY_BYTES = 100_000_000


class ServeForm(BaseModel):
    """The settings of a server. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    host: str = "127.0.0.1"
    """The address to listen on. Any address but loopback requires API keys by default."""
    port: int = Field(11434, ge=0, le=65535)
    """The port to listen on; 0 means any free port."""
    api_keys: Literal["auto", "always", "never"] = "auto"
    """Whether requests need an API key: `auto` requires one if other machines can reach the server."""
    origins: Texts = ()
    """The origins of websites that may use the server, besides local ones; `*` matches anything."""
    hosts: Texts = ()
    """The host names that a server on loopback accepts, besides local ones."""
    requests_per_minute: int = Field(0, ge=0, le=_MOST)
    """The rate limit of one API key or one address; 0 means no limit."""
    max_connections: int = Field(4096, ge=1, le=_MOST)
    """The maximum number of open connections, if the process has enough file descriptors."""
    max_connections_per_address: int = Field(256, ge=0, le=_MOST)
    """The maximum number of connections from one address that is not loopback; 0 means no limit."""
    header_seconds: Seconds = 30.0
    """The time limit for a request's header to arrive."""
    idle_seconds: Seconds = 120.0
    """The time that a connection may be idle between two requests."""
    body_limit: Size = 100_000_000
    """The maximum size of a request body in bytes, except for blobs."""
    blob_limit: Size = 10**12
    """The maximum size of a blob in bytes."""
    body_seconds: Seconds = 60.0
    """The time limit for a request's body to arrive; for a blob, for its next piece."""
    body_rate: SizeOrNone = 1000
    """The minimum rate of a body in bytes per second; 0 means no minimum."""
    grace_seconds: Annotated[float, BeforeValidator(_seconds), Field(ge=0, le=86_400), _SECONDS] = 15.0
    """The time that running requests have to finish when the server is stopped."""
    keep_alive: Stay = FIVE_MINUTES
    """How long a model stays in memory after its last request; a negative value means forever."""
    load_timeout: Patience = 300.0
    """How long a load may make no progress; 0 means no limit."""
    max_loaded_models: int = Field(0, ge=0, le=_MOST)
    """The maximum number of models in memory; 0 means three."""
    max_queue: int = Field(512, ge=1, le=_MOST)
    """The maximum number of requests that wait for a model to load."""
    max_transfers: int = Field(16, ge=1, le=1000)
    """The maximum number of concurrent pulls, pushes and builds; more are answered with 503."""
    memory: Annotated[SizeOrNone, AfterValidator(_room_for_a_model)] = 0
    """The memory in bytes for all models together, from 100 MB; 0 means four fifths of what the machine has left."""
    context_length: int = Field(0, ge=0, le=2**31 - 1)
    """The context length in tokens for requests that set none; 0 means the model's own."""
    kv_bits: Bits = 0
    """The bits of a KV cache element for requests that set none: 4, 8, or 0 for the model's own."""
    drafts: Drafts = Field(default_factory=dict)
    """The draft models for speculative decoding: a model's name or pattern, and the name of a smaller model."""
    stored_responses: int = Field(1000, ge=0, le=_MOST)
    """The maximum number of responses of `/v1/responses` stored in memory; 0 stores none."""
    stored_responses_bytes: Size = 100_000_000
    """The maximum size of all stored responses together in bytes of JSON."""
    stored_responses_age: Patience = 86_400.0
    """How long a response is stored after it was last requested; 0 means no limit."""
    preload: Texts = ()
    """The models that are loaded when the server starts."""
    pin: Texts = ()
    """The models that are loaded when the server starts, and never unloaded."""
    log: Literal["file", "stderr"] = "file"
    """Where the log goes: to `logs/serve.jsonl` in the home, or to stderr."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_bytes: Size = 20_000_000
    """The size in bytes after which a new log file begins."""
    log_files: int = Field(5, ge=0, le=1000)
    """The number of earlier log files that are kept."""

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse booleans for numbers, because Python counts `true` as 1."""
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation in (int, float):
            raise ValueError("write a number")
        return value


def as_written(key: str, value: Any) -> Any:
    """The value of a setting as people write it: `3GB`, `10m`; other values and those without a whole unit stay."""
    rules = [each for rule in ServeForm.model_fields[key].metadata for each in (rule, *getattr(rule, "metadata", ()))]
    if _BYTES not in rules or not isinstance(value, int):
        units: tuple[tuple[str, int], ...] = (("h", 3600), ("m", 60), ("s", 1))
        number = _whole_seconds(value) if _SECONDS in rules else 0
    else:
        units, number = (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 1000)), value
    return next((f"{number // step}{unit}" for unit, step in units if number and number % step == 0), value)


def _whole_seconds(value: Any) -> int:
    """The seconds of a duration that is a whole number of them, else 0."""
    seconds = setting_seconds(value)
    return int(seconds) if seconds is not None and 0 < seconds < math.inf and seconds % 1 == 0 else 0


def told_number(key: str) -> str | None:
    """The range and syntax of a numeric setting, for messages; None for other settings."""
    rules = [each for rule in ServeForm.model_fields[key].metadata for each in (rule, *getattr(rule, "metadata", ()))]
    ends = [getattr(rule, end) for end in ("ge", "le") for rule in rules if hasattr(rule, end)]
    unit = next((rule for rule in rules if isinstance(rule, _Unit)), None)
    if not ends and unit is None:
        return None
    number = "a whole number" if unit is None else f"a number of {unit.plural}"
    reach = f" from {ends[0]:,} to {ends[1]:,}" if ends else ""
    return number + reach + ("" if unit is None else f", or one with a unit: {unit.forms}")
