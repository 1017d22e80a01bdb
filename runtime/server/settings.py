"""The settings of a server, which the command line reads from config.yaml, the environment and options."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlxbuild.runtime.residency.setting_origins import SettingOrigins


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The settings of the HTTP server; those of residency are in `runtime.residency.limits`."""

    host: str = "127.0.0.1"
    port: int = 11434
    max_connections: int = 4096
    """The maximum number of connections, further limited by the available descriptors."""
    max_connections_per_address: int | None = 256
    """The maximum number of connections per address, except loopback; None means no limit."""
    header_seconds: float = 30.0
    """Timeout for a request's head, from the connection, or from the first byte of a later request."""
    idle_seconds: float = 120.0
    """How long a connection may be idle between two requests."""
    body_limit_bytes: int = 100_000_000
    """The maximum size of a request's body, except for blobs."""
    blob_limit_bytes: int = 10**12
    """The maximum size of a blob."""
    body_seconds: float = 60.0
    """Timeout for the whole body of a request; for a blob, for its next piece."""
    body_bytes_per_second: int = 1000
    """The minimum rate at which a body has to arrive, on average after `body_grace_seconds`; 0 means no limit."""
    body_grace_seconds: float = 10.0
    """How far a client may be behind the minimum rate."""
    reader_seconds: float = 300.0
    """Timeout for a client to read what was sent, after which its connection is aborted."""
    grace_seconds: float = 15.0
    """Time for running answers to end when the server is stopped."""
    max_transfers: int = 16
    """The maximum number of concurrent pulls, pushes and builds; more are refused."""
    origins: tuple[str, ...] = ()
    """Websites that may use the server, besides local ones; they may contain `*`."""
    hosts: tuple[str, ...] = ()
    """Names of a server on loopback, besides local ones."""
    context_length: int | None = None
    """The context length in tokens of requests that set none; None means the model's own."""
    asks_for_key: bool = False
    """Whether every request needs an API key."""
    requests_per_minute: int | None = None
    """The rate limit per API key, or per address on a server without keys; None means no limit."""
    stored_responses: int = 1000
    """The maximum number of stored responses of `/v1/responses`; 0 stores none."""
    stored_responses_bytes: int = 100_000_000
    """The maximum size of all stored responses together, as JSON."""
    stored_responses_seconds: float = 86_400.0
    """How long a response is stored after its last use."""
    places: SettingOrigins = field(default_factory=SettingOrigins)
    """Where these settings were set."""
