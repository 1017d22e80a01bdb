"""Errors of requests that fail the access checks."""

from __future__ import annotations

from mlxbuild.registry.core.errors import EnvironmentFailure, UserError


class Forbidden(UserError):
    """The request comes from a website that is not allowed, or names a host that is not the server's."""

    code = "forbidden"


class NoApiKey(UserError):
    """The server requires an API key, and the request has none or an unknown one."""

    code = "no-api-key"


class KeysUnreadable(EnvironmentFailure):
    """The server requires API keys but cannot read its own, so it refuses all requests."""

    code = "keys-unreadable"


class RateLimited(UserError):
    """A caller sent more requests than the rate limit allows."""

    code = "rate-limited"
