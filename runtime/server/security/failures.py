"""Why a request is turned away before anybody looks at what it asks."""

from __future__ import annotations

from mlxbuild.registry.core.errors import EnvironmentFailure, UserError


class Forbidden(UserError):
    """The request comes from where the server takes none: another website, or a name that is not the server's."""

    code = "forbidden"


class NoApiKey(UserError):
    """The server asks for an API key, and the request has none that is known."""

    code = "no-api-key"


class KeysUnreadable(EnvironmentFailure):
    """The server asks for API keys, and cannot read its own: nobody is let in."""

    code = "keys-unreadable"


class RateLimited(UserError):
    """More requests came from one caller than the server takes."""

    code = "rate-limited"
