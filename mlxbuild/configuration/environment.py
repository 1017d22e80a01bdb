"""Which environment variables say what. Ollama's are understood; our own come before them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from mlxbuild.configuration.form import ServeForm

_DEFAULT_PORTS = {"http": 80, "https": 443}
_OLLAMAS = {
    "keep_alive": "OLLAMA_KEEP_ALIVE",
    "load_timeout": "OLLAMA_LOAD_TIMEOUT",
    "max_loaded_models": "OLLAMA_MAX_LOADED_MODELS",
    "max_queue": "OLLAMA_MAX_QUEUE",
    "context_length": "OLLAMA_CONTEXT_LENGTH",
    "origins": "OLLAMA_ORIGINS",
}
HOST_VARIABLES = ("MLXBUILD_HOST", "OLLAMA_HOST")
_DEBUG = "OLLAMA_DEBUG"
_NO = ("", "0", "f", "false")


def from_environment(environment: Mapping[str, str]) -> dict[str, tuple[Any, str]]:
    """The settings that the environment says, each with its variable."""
    found: dict[str, tuple[Any, str]] = {}
    for key in ServeForm.model_fields:
        for variable in (f"MLXBUILD_{key.upper()}", _OLLAMAS.get(key, "")):
            if variable and variable not in HOST_VARIABLES and (value := _cleaned(environment.get(variable))):
                found[key] = (value, variable)
                break
    for variable in HOST_VARIABLES:
        if value := _cleaned(environment.get(variable)):
            host, port = split_address(value)
            found["host"] = (host, variable)
            if port is not None and "port" not in found:
                found["port"] = (port, variable)
            break
    if "log_level" not in found and _cleaned(environment.get(_DEBUG)).lower() not in _NO:
        found["log_level"] = ("debug", _DEBUG)
    return found


def split_address(written: str) -> tuple[str, int | None]:
    """Host and port of `[scheme://]host[:port][/path]`; None where no port is said or it is none.

    Contract: a scheme without a port means its own port, and a port that is none the default one.
    """
    scheme, separator, rest = written.partition("://")
    if not separator:
        scheme, rest = "", written
    address = rest.partition("/")[0]
    if address.count(":") > 1 and not address.startswith("["):
        address = f"[{address}]"
    try:
        parts = urlsplit(f"//{address}")
        port = parts.port
    except ValueError:
        parts, port = urlsplit(f"//{address.rpartition(':')[0]}"), None
    return parts.hostname or "127.0.0.1", port if port is not None else _DEFAULT_PORTS.get(scheme.lower())


def _cleaned(value: str | None) -> str:
    """Without the spaces and quotes that service files leave around."""
    return (value or "").strip().strip("\"'").strip()
