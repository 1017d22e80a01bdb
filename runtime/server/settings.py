"""How a server behaves. Where the values come from, file or environment: the command line's matter."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlxbuild.runtime.residency.setting_places import SettingPlaces


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The server's own settings; those of residency and engine belong to them."""

    host: str = "127.0.0.1"
    port: int = 11434
    max_connections: int = 4096
    """Connections at once, as far as there are descriptors for them."""
    max_connections_per_address: int | None = 256
    """Those of one address, unless it is loopback; None for no bound."""
    header_seconds: float = 30.0
    """For the head of a request to arrive: from the connection, or from the first byte of a next request."""
    idle_seconds: float = 120.0
    """That a connection may say nothing between two requests."""
    body_limit_bytes: int = 100_000_000
    """Of one request, except for blobs."""
    blob_limit_bytes: int = 10**12
    """Of one blob."""
    body_seconds: float = 60.0
    """For the whole body of a request to arrive; of a blob, for the next piece of it."""
    body_bytes_per_second: int = 1000
    """That a client has to send of a body at least, on average after `body_grace_seconds`; 0 for no bound."""
    body_grace_seconds: float = 10.0
    """That a client may be behind that."""
    reader_seconds: float = 300.0
    """For a client to take in what was sent, before it is given up."""
    grace_seconds: float = 15.0
    """For running answers to end when the server is stopped."""
    max_transfers: int = 16
    """Pulls, pushes and builds at once; more are refused."""
    origins: tuple[str, ...] = ()
    """Websites that may use the server, besides local ones; may have `*` in them."""
    hosts: tuple[str, ...] = ()
    """Names by which a server on loopback is known, besides local ones."""
    context_length: int | None = None
    """Tokens of context for requests that name none; None for the model's own."""
    asks_for_key: bool = False
    """Whether every request needs an API key."""
    requests_per_minute: int | None = None
    """Of one API key, or of one address where there are none; None for no bound."""
    stored_responses: int = 1000
    """How many answers of `/v1/responses` are kept for a while; 0 keeps none."""
    stored_responses_bytes: int = 100_000_000
    """Of all of them together, as JSON."""
    stored_responses_seconds: float = 86_400.0
    """How long one is kept after it was last asked for."""
    places: SettingPlaces = field(default_factory=SettingPlaces)
    """Where all of this was written."""
