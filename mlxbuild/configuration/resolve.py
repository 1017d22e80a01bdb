"""Resolves the server's settings: defaults, config.yaml, environment and options; later ones take precedence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mlxbuild.configuration.environment import from_environment
from mlxbuild.configuration.form import ServeForm, told_number
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.suggestions import any_of, nearest
from mlxbuild.registry.oci.remote.errors import InvalidSettings
from mlxbuild.registry.oci.remote.setting_files import parse_settings, read_settings
from mlxbuild.registry.oci.remote.settings import FILE_NAME, SERVE_KEY, Settings
from mlxbuild.runtime.residency.draft_models import DraftModels
from mlxbuild.runtime.residency.limits import Limits
from mlxbuild.runtime.residency.setting_origins import SettingOrigins
from mlxbuild.runtime.runner.client import Timeouts
from mlxbuild.runtime.server.security.hosts import is_loopback
from mlxbuild.runtime.server.settings import ServerSettings

DEFAULT_ORIGIN = "default"
_OPTIONS = {"max_loaded_models": "--models", "api_keys": "--api-key"}
"""The options of `mlxbuild serve` that are not named as their settings."""
OF_OLLAMA = {
    "num_parallel": "it would have no effect: requests for a model are answered together, in batches",
    "models": "the models are in the home: MLXBUILD_HOME chooses another one",
    "noprune": "it would have no effect: only `mlxbuild gc` deletes blobs",
    "flash_attention": "it would have no effect: MLX chooses how attention is computed",
    "kv_cache_type": "it is `kv_bits` here, which also takes q8_0, q4_0 and f16",
    "debug": "it is `log_level` here: set it to debug",
}
"""What to know of settings that Ollama has and this server does not."""
_REASONS = {
    "int_parsing": "it is not a whole number",
    "int_type": "it is not a whole number",
    "int_from_float": "it is not a whole number",
    "int_parsing_size": "it is too large",
    "greater_than_equal": "it is too small",
    "less_than_equal": "it is too large",
    "finite_number": "it is not a whole number",
    "string_type": "it is not a text",
    "tuple_type": "it is not a list",
    "dict_type": "it is not a map",
}
"""What is wrong with a value, in place of pydantic's sentences, which speak of Python's types."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings of a server, each with its origin: `default`, a variable, an option, or a file and line."""

    form: ServeForm
    origins: Mapping[str, str]

    @property
    def asks_for_key(self) -> bool:
        """Whether requests need an API key."""
        return self.form.api_keys == "always" or (self.form.api_keys == "auto" and not is_loopback(self.form.host))

    @property
    def places(self) -> SettingOrigins:
        """The places where each setting can be changed."""
        written = {key: origin for key, origin in self.origins.items() if origin != DEFAULT_ORIGIN}
        return SettingOrigins({key: origin for key, origin in written.items() if FILE_NAME not in origin})

    def server_settings(self) -> ServerSettings:
        """The settings of the HTTP server."""
        form = self.form
        return ServerSettings(
            host=form.host,
            port=form.port,
            max_connections=form.max_connections,
            max_connections_per_address=form.max_connections_per_address or None,
            header_seconds=form.header_seconds,
            idle_seconds=form.idle_seconds,
            body_limit_bytes=form.body_limit,
            blob_limit_bytes=form.blob_limit,
            body_seconds=form.body_seconds,
            body_bytes_per_second=form.body_rate,
            grace_seconds=form.grace_seconds,
            max_transfers=form.max_transfers,
            origins=form.origins,
            hosts=form.hosts,
            asks_for_key=self.asks_for_key,
            requests_per_minute=form.requests_per_minute or None,
            context_length=form.context_length or None,
            stored_responses=form.stored_responses,
            stored_responses_bytes=form.stored_responses_bytes,
            stored_responses_seconds=form.stored_responses_age,
            places=self.places,
        )

    def limits(self) -> Limits:
        """The limits of the models in memory."""
        form = self.form
        return Limits(
            max_loaded_models=form.max_loaded_models or Limits().max_loaded_models,
            memory_bytes=form.memory or None,
            max_queue=form.max_queue,
            keep_alive=form.keep_alive,
            kv_bits=form.kv_bits or None,
            patience=Timeouts(stall_seconds=form.load_timeout),
            places=self.places,
        )

    def drafts(self) -> DraftModels:
        """The draft models for the models that are loaded."""
        return DraftModels(self.form.drafts, self.origins["drafts"])


def configure(
    home: Home,
    environment: Mapping[str, str],
    options: Mapping[str, Any] | None = None,
    *,
    written: bytes | None = None,
) -> Configuration:
    """Resolve the settings of a home's server; `options` that are None count as not given.

    With `written`, the server's settings are those that config.yaml would have with this content.

    Raises:
        InvalidSettings: a value is invalid; the message says where it comes from. Registry settings are checked, too.
    """
    file = home.root / FILE_NAME
    found: dict[str, tuple[Any, str]] = {}
    document = read_settings(file) if written is None else parse_settings(written, file)
    for key in document.keys() & ServeForm.model_fields.keys():
        raise InvalidSettings(
            f"`{key}` is a setting of the server", where=str(file), hint=f"write it below `{SERVE_KEY}:`"
        )
    Settings.load(home, document)  # reports mistakes in the registry settings early
    section = document.get(SERVE_KEY) or {}
    if not isinstance(section, dict):
        raise InvalidSettings(f"`{SERVE_KEY}` is not a map of settings", where=str(file))
    lines = _lines(file, written)
    for key, value in section.items():
        where = f"{file}:{lines[key]}" if key in lines else str(file)
        require_setting(str(key), where)
        found[key] = (value, where)
    found |= from_environment(environment)
    given = {key: value for key, value in (options or {}).items() if value is not None}
    found |= {key: (value, _OPTIONS.get(key, f"--{key.replace('_', '-')}")) for key, value in given.items()}
    form = validated(found)
    origins = {key: found[key][1] if key in found else DEFAULT_ORIGIN for key in ServeForm.model_fields}
    return Configuration(form, origins)


def validated(found: Mapping[str, tuple[Any, str | None]]) -> ServeForm:
    """The settings of values, each with its origin.

    Raises:
        InvalidSettings: a value is invalid.
    """
    try:
        return ServeForm.model_validate({key: value for key, (value, _) in found.items()})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = str(first["loc"][0])
        value, where = found[key]
        reason = _REASONS.get(first["type"]) or first["msg"].removeprefix("Value error, ").replace("Input", "it")
        if len(first["loc"]) > 1:
            reason = "an entry of it is not a text"
        told = told_number(key)
        raise InvalidSettings(
            f"`{SERVE_KEY}.{key}` cannot be {value!r}: {reason}",
            where=where,
            hint=f"it is {told}" if told else None,
        ) from None


def require_setting(key: str, where: str | None) -> None:
    """Refuse a key that is no setting of the server, and suggest one that is like it.

    Raises:
        InvalidSettings: there is no such setting.
    """
    if key not in ServeForm.model_fields:
        every = "`mlxbuild config show` lists the settings of the server"
        near = nearest(key, ServeForm.model_fields)
        hint = OF_OLLAMA.get(key) or (f"did you mean {any_of(near)}?" if near else every)
        raise InvalidSettings(f"there is no setting `{SERVE_KEY}.{key}`", where=where, hint=hint)


def _lines(file: Path, written: bytes | None) -> dict[str, int]:
    """The line of each key of the section."""
    try:
        document = yaml.compose(file.read_bytes() if written is None else written, Loader=yaml.SafeLoader)
    except (OSError, yaml.YAMLError):
        return {}
    for key, value in document.value if isinstance(document, yaml.MappingNode) else ():
        if key.value == SERVE_KEY and isinstance(value, yaml.MappingNode):
            return {str(entry.value): entry.start_mark.line + 1 for entry, _ in value.value}
    return {}
