"""Maps environment variables to settings. Ollama's are supported; MLXBUILD_* variables take precedence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlxbuild.configuration.address import HOST_VARIABLES, cleaned, host_written, split_address
from mlxbuild.configuration.form import ServeForm

_OLLAMAS = {
    "keep_alive": "OLLAMA_KEEP_ALIVE",
    "load_timeout": "OLLAMA_LOAD_TIMEOUT",
    "max_loaded_models": "OLLAMA_MAX_LOADED_MODELS",
    "max_queue": "OLLAMA_MAX_QUEUE",
    "context_length": "OLLAMA_CONTEXT_LENGTH",
    "kv_bits": "OLLAMA_KV_CACHE_TYPE",
    "origins": "OLLAMA_ORIGINS",
}
_DEBUG = "OLLAMA_DEBUG"
_NO = ("", "0", "f", "false")


def from_environment(environment: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    """The settings in the environment, each with the name of its variable."""
    found: dict[str, tuple[Any, str]] = {}
    for key in ServeForm.model_fields:
        for variable in (f"MLXBUILD_{key.upper()}", _OLLAMAS.get(key, "")):
            if variable and variable not in HOST_VARIABLES and (value := cleaned(environment.get(variable))):
                found[key] = (value, variable)
                break
    if (written := host_written(environment)) is not None:
        host, port = split_address(written[0])
        found["host"] = (host, written[1])
        if port is not None and "port" not in found:
            found["port"] = (port, written[1])
    if "log_level" not in found and cleaned(environment.get(_DEBUG)).lower() not in _NO:
        found["log_level"] = ("debug", _DEBUG)
    return found
