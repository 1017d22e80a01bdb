"""Maps errors to HTTP statuses for all APIs; each API has its own format for them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sanic.exceptions import MethodNotAllowed, NotFound, SanicException

from mlxbuild.registry.core.errors import InfrastructureError, Kind, MlxbuildError, TrustError, UserError
from mlxbuild.runtime.server.logger import log

CLIENT_GONE = 499
"""The status by which a request is counted if its client disconnected before the response."""


class InvalidRequest(UserError):
    """A request's body or header is not what its route accepts."""

    code = "invalid-request"


class RequestTooSlow(UserError):
    """A request's header or body did not arrive in time."""

    code = "request-too-slow"


class MalformedRequest(UserError):
    """A request is not valid HTTP/1.1, or could be read in two ways."""

    code = "malformed-request"


class NoSuchMethod(UserError):
    """A request's method is not one of HTTP's."""

    code = "unknown-method"


class VersionNotSupported(UserError):
    """A request uses a version of HTTP that the server does not support."""

    code = "http-version-not-supported"


class HeaderTooLarge(UserError):
    """A request's header is longer than the server accepts."""

    code = "header-too-large"


class TransferCodingNotSupported(UserError):
    """A request's body has a transfer coding other than `chunked`."""

    code = "transfer-coding-not-supported"


class ExpectationFailed(UserError):
    """A request expects something other than `100-continue`."""

    code = "expectation-failed"


class ContentCodingNotSupported(UserError):
    """A request's body is compressed in a way that the server does not support."""

    code = "content-coding-not-supported"


class TooManyConnections(InfrastructureError):
    """The server has reached its limit on connections, and each has a request in progress."""

    code = "too-many-connections"


class NoSuchRoute(UserError):
    """The server has no route for the path of a request."""

    code = "no-such-route"


class MethodNotTaken(UserError):
    """The route at the path of a request allows other methods only."""

    code = "no-such-method"


class ClientGone(UserError):
    """A client disconnected before the response; this error appears in the log only."""

    code = "client-gone"


class NotSupported(UserError):
    """The model, or this server, cannot do what is asked for."""

    code = "not-supported"


class UpstreamUnsound(Exception):
    """Data that another server sent for a request fails verification; `error` is the reason."""

    def __init__(self, error: TrustError) -> None:
        super().__init__(error.message)
        self.error = error


_STATUS_OF_CODE = {
    "no-such-route": 404,
    "no-such-method": 405,
    "client-gone": CLIENT_GONE,
    "unknown-reference": 404,
    "gate-failed": 400,
    "manifest-unknown": 404,
    "repository-unknown": 404,
    "unknown-response": 404,
    "unknown-item": 404,
    "request-too-large": 413,
    "request-too-slow": 408,
    "unknown-method": 501,
    "http-version-not-supported": 505,
    "header-too-large": 431,
    "transfer-coding-not-supported": 501,
    "expectation-failed": 417,
    "content-coding-not-supported": 415,
    "keys-unreadable": 503,
    "server-stopping": 503,
    "server-busy": 503,
    "disk-full": 507,
    "too-many-connections": 503,
    "no-room": 503,
    "model-keeps-dying": 503,
    "draft-missing": 500,
    "draft-unusable": 500,
    "no-api-key": 401,
    "forbidden": 403,
    "rate-limited": 429,
    "untrusted": 403,
}
_NAMES_FIELD = ("invalid-request", "not-supported", "unknown-previous-response", "unknown-item")
"""The codes of errors whose `where` is always a field of the request."""
_HEADERS_OF_CODE = {"content-coding-not-supported": {"Accept-Encoding": "gzip, identity"}}
_STATUS_OF_KIND = {
    Kind.USER: 400,
    Kind.STEP: 500,
    Kind.INFRASTRUCTURE: 502,
    Kind.ENVIRONMENT: 500,
    Kind.TRUST: 500,
}


@dataclass(frozen=True, slots=True)
class HttpFailure:
    """An error as an HTTP response, independent of the API's format."""

    status: int
    message: str
    code: str = "error"
    hint: str | None = None
    where: str | None = None
    """The field of the request that is wrong, such as `messages[0].content`, or another place, such as a file."""
    kind: Kind | None = None
    """The kind of the error; None for a bug."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Additional response headers."""
    request_field: str | None = None
    """The field of the request that is wrong, if it is known."""


NOWHERE: Mapping[str, str] = {}


def failure_of(error: BaseException, places: Mapping[str, str] = NOWHERE) -> HttpFailure:
    """The HTTP response of an error; for a bug only its type, with the traceback in the log.

    `places` are the fields of the request for errors that do not name theirs, by error code.
    """
    if isinstance(error, UpstreamUnsound):
        return replace(failure_of(error.error, places), status=502)
    if isinstance(error, MlxbuildError):
        status = _STATUS_OF_CODE.get(error.code) or _STATUS_OF_KIND[Kind(error.kind)]
        where = None if error.where is None else str(error.where)
        headers = _HEADERS_OF_CODE.get(error.code, {})
        named = where if error.code in _NAMES_FIELD else places.get(error.code)
        return HttpFailure(status, error.message, error.code, error.hint, where, error.kind, headers, named)
    if isinstance(error, NotFound):
        return failure_of(NoSuchRoute("404 page not found"))
    if isinstance(error, MethodNotAllowed):
        return replace(failure_of(MethodNotTaken("405 method not allowed")), headers=error.headers)
    if isinstance(error, asyncio.CancelledError):
        return failure_of(ClientGone("the client did not wait for the answer"))
    if isinstance(error, SanicException):
        return HttpFailure(error.status_code, str(error), "http")
    log.error("bug", exc_info=error)
    return HttpFailure(500, f"internal error ({type(error).__name__}); the server's log has the story", "bug")
