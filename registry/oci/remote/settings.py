"""The registry settings from the home's config.yaml and registries.yaml, overridden by the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mlxbuild.registry.core.durations import setting_seconds
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.core.reference import InvalidReference, Reference
from mlxbuild.registry.core.suggestions import did_you_mean
from mlxbuild.registry.oci.remote import realms
from mlxbuild.registry.oci.remote.errors import InvalidSettings
from mlxbuild.registry.oci.remote.realms import Realms
from mlxbuild.registry.oci.remote.retry import Patience
from mlxbuild.registry.oci.remote.setting_files import read_settings, texts
from mlxbuild.registry.oci.remote.watch import Limits, variable

FILE_NAME = "config.yaml"
SERVE_KEY = "serve"
"""The server's section of config.yaml, which is not read here."""
_RANGES: dict[str, tuple[float, float]] = {
    "connect_seconds": (0.01, 86_400),
    "read_seconds": (0.01, 86_400),
    "least_bytes_per_second": (1, 1e9),
    "attempts": (1, 100),
    "chunk_bytes": (1, 1e12),
}
VARIABLES = (
    "MLXBUILD_DEFAULT_REGISTRY",
    "MLXBUILD_INSECURE_REGISTRIES",
    "MLXBUILD_REGISTRY_CA",
    *(variable(setting) for setting in _RANGES),
)
"""Those of the environment that come before the file."""
OVERRIDING = {
    "default_registry": "MLXBUILD_DEFAULT_REGISTRY",
    "ca": "MLXBUILD_REGISTRY_CA",
    **{setting: variable(setting) for setting in _RANGES},
}
"""The variable that overrides each setting; MLXBUILD_INSECURE_REGISTRIES only adds to `insecure`."""
_WHOLE = ("attempts", "chunk_bytes")
KEYS = ("default_registry", "mirrors", "insecure", "ca", *_RANGES)
_CONNECT_SECONDS = 20.0
_READ_SECONDS = 60.0
_LEAST_BYTES_PER_SECOND = 1024.0
_ATTEMPTS = 6
_CHUNK_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings for access to registries.

    `default_registry` is `host[:port][/namespace]`; names without a host belong to it. `mirrors` lists, by host, the
    hosts to try before it for reads. Hosts in `insecure` are accessed over plain http, as loopback addresses are. `ca`
    is a PEM file of certificate authorities that replaces the system's.
    """

    default_registry: str | None = None
    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    insecure: frozenset[str] = frozenset()
    ca: Path | None = None
    realms: Realms = field(default_factory=Realms)
    """The token services that may get passwords, from registries.yaml."""
    connect_seconds: float = _CONNECT_SECONDS
    """The limit for connecting to an address, and again for the TLS handshake."""
    read_seconds: float = _READ_SECONDS
    """The limit for a response to begin, for its next bytes, and for the peer to accept the next bytes of a body."""
    least_bytes_per_second: float = _LEAST_BYTES_PER_SECOND
    """The minimum transfer rate, checked over 64 KiB."""
    attempts: int = _ATTEMPTS
    """The maximum number of attempts at a request, of which at most two may time out. For transfers, only attempts
    that got less than 64 KiB further are counted."""
    chunk_bytes: int = _CHUNK_BYTES
    """Larger blobs are sent in chunks of this size to registries that accept chunks; an interrupted upload resumes at
    its last chunk."""

    @classmethod
    def load(cls, home: Home, document: Mapping[str, object] | None = None) -> Settings:
        """The settings of a home; MLXBUILD_DEFAULT_REGISTRY, MLXBUILD_INSECURE_REGISTRIES (separated by commas),
        MLXBUILD_REGISTRY_CA and the `variable` of each number override the file. `document` stands for its content.

        Raises:
            InvalidSettings: a value is invalid; the message names its key.
        """
        file = home.root / FILE_NAME
        document = read_settings(file) if document is None else document
        for key in document:
            if key not in (*KEYS, SERVE_KEY):
                raise InvalidSettings(
                    f"there is no setting `{key}`",
                    where=str(file),
                    hint=did_you_mean(str(key), KEYS) or f"the settings are {', '.join(KEYS)}",
                )
        environment = os.environ
        default = environment.get("MLXBUILD_DEFAULT_REGISTRY") or _text(document, "default_registry", file)
        insecure = set(texts(document.get("insecure"), "insecure", file))
        insecure.update(part.strip() for part in environment.get("MLXBUILD_INSECURE_REGISTRIES", "").split(","))
        ca = environment.get("MLXBUILD_REGISTRY_CA") or _text(document, "ca", file)
        return cls(
            default_registry=_checked_registry(default, file) if default else None,
            mirrors=_mirrors(document.get("mirrors"), file),
            insecure=frozenset(host.lower() for host in insecure if host),
            ca=_authorities(ca, file) if ca else None,
            realms=Realms.load(home.root / realms.FILE_NAME),
            connect_seconds=_number(document, "connect_seconds", _CONNECT_SECONDS, file),
            read_seconds=_number(document, "read_seconds", _READ_SECONDS, file),
            least_bytes_per_second=_number(document, "least_bytes_per_second", _LEAST_BYTES_PER_SECOND, file),
            attempts=int(_number(document, "attempts", _ATTEMPTS, file)),
            chunk_bytes=int(_number(document, "chunk_bytes", _CHUNK_BYTES, file)),
        )

    @property
    def limits(self) -> Limits:
        """The time limits of every request."""
        return Limits(self.connect_seconds, self.read_seconds, self.least_bytes_per_second)

    @property
    def patience(self) -> Patience:
        """How often and how long a request or transfer is tried again."""
        return Patience(self.attempts, first_pause_seconds=0.5, longest_pause_seconds=20.0, longest_asked_seconds=120.0)


def _text(document: Mapping[str, object], key: str, file: Path) -> str | None:
    value = document.get(key)
    if value is not None and not isinstance(value, str):
        raise InvalidSettings(f"`{key}` is not a text", where=str(file))
    return value


def _number(document: Mapping[str, object], key: str, default: float, file: Path) -> float:
    value, where = document.get(key, default), str(file)
    if written := os.environ.get(variable(key), "").strip():
        value, where = written, variable(key)
    is_time, (least, most) = key.endswith("_seconds"), _RANGES[key]
    number = setting_seconds(value) if is_time else _plain(value)
    if number is None or not least <= number <= most or (key in _WHOLE and number % 1):
        kind = "a whole number" if key in _WHOLE else "seconds, or a duration such as `1m`," if is_time else "a number"
        raise InvalidSettings(
            f"`{key}` cannot be {value!r}", where=where, hint=f"it is {kind} from {least:,g} to {most:,g}"
        )
    return number


def _plain(value: object) -> float | None:
    """A number, or a text from the environment that is one."""
    try:
        return float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        return None


def _mirrors(value: object, file: Path) -> dict[str, tuple[str, ...]]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidSettings("`mirrors` is not a map from hosts to lists of hosts", where=str(file))
    return {
        str(host).lower(): tuple(
            _checked_registry(mirror, file) for mirror in texts(mirrors, f"mirrors of {host}", file)
        )
        for host, mirrors in value.items()
    }


def _checked_registry(text: str, file: Path) -> str:
    try:
        reference = Reference.parse(f"{text.rstrip('/')}/name")
    except InvalidReference as error:
        raise InvalidSettings(f"`{text}` is not a registry: {error.message}", where=str(file)) from error
    if reference.host is None:
        raise InvalidSettings(
            f"`{text}` is not a registry", where=str(file), hint="write host[:port][/namespace]; a host has a dot"
        )
    return text.rstrip("/")


def _authorities(text: str, file: Path) -> Path:
    path = (file.parent / Path(text).expanduser()).absolute()
    if not path.is_file():
        raise InvalidSettings("the file of certificate authorities does not exist", where=str(path))
    return path
