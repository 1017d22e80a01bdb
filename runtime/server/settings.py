"""How a server behaves. Where the values come from, file or environment: the command line's matter."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """The server's own settings; those of residency and engine belong to them."""

    host: str = "127.0.0.1"
    port: int = 11434
    body_limit_bytes: int = 100_000_000
    """Of one request, except for blobs."""
    body_seconds: float = 60.0
    """For the whole body of a request to arrive."""
    reader_seconds: float = 300.0
    """For a client to take in what was sent, before it is given up."""
    grace_seconds: float = 15.0
    """For running answers to end when the server is stopped."""
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
