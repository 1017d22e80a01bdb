"""Maps error responses and failed connections to errors that a person can act on."""

from __future__ import annotations

import json

import requests
import urllib3

from mlxbuild.registry.core.hosts import canonical_host
from mlxbuild.registry.oci.remote.errors import (
    ManifestUnknown,
    RegistryBusy,
    RegistryFailure,
    RegistryRefused,
    RegistryTooSlow,
    RegistryUnreachable,
    RemoteBlobUnknown,
    RepositoryUnknown,
    TransferCorrupt,
)
from mlxbuild.registry.oci.remote.response import Response, retry_after_seconds
from mlxbuild.registry.oci.remote.retry import Failure
from mlxbuild.registry.oci.remote.watch import Awaited, LimitExceeded

NETWORK_ERRORS = (requests.RequestException, urllib3.exceptions.HTTPError, ConnectionError, TimeoutError)

_LONGEST_MESSAGE = 300
_NEVER_TRY_AGAIN = (
    requests.exceptions.SSLError,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidHeader,
)
_BY_CODE: dict[str, type[RegistryFailure]] = {
    "NAME_UNKNOWN": RepositoryUnknown,
    "MANIFEST_UNKNOWN": ManifestUnknown,
    "BLOB_UNKNOWN": RemoteBlobUnknown,
    "MANIFEST_BLOB_UNKNOWN": RemoteBlobUnknown,
    "DENIED": RegistryRefused,
    "UNAUTHORIZED": RegistryRefused,
}
_HINTS: dict[type[RegistryFailure], str] = {
    RepositoryUnknown: "check the name; a private repository needs `mlxbuild login`",
    ManifestUnknown: "check the tag or digest",
    RemoteBlobUnknown: "push the artifact again from a store that has all of it",
    RegistryBusy: "try again later; what was transferred is kept",
}


def failure(answer: Response) -> RegistryFailure:
    """The error for a response, with the registry's own code and message (distribution-spec, "Error Codes")."""
    code, words = _code_and_message(answer.body)
    kind = _kind(answer, code)
    host = answer.where.partition("//")[2].partition("/")[0]
    description = ": ".join(part for part in (code, words) if part)
    hint = _HINTS.get(kind)
    if kind is RegistryRefused and "/v2/" in answer.where:  # but not at hosts that blobs are redirected to
        hint = f"log in with `mlxbuild login {canonical_host(host)}`"
    if answer.status == 400 and _met_encryption(answer):
        hint = "the registry seems to use https: name its certificate authority as `ca` in config.yaml"
    return kind(
        f"{host} answered {answer.status}" + (f": {description}" if description else ""),
        where=answer.where,
        hint=hint,
        status=answer.status,
        registry_code=code or None,
        retry_after=retry_after_seconds(answer.headers),
        retryable=kind is RegistryBusy,
    )


def unreachable(error: Exception, where: str, host: str) -> RegistryFailure:
    """The error for a connection that gave no response, or only a part of one."""
    reason = _root(error)
    hint = "check the name and the network"
    if isinstance(error, requests.exceptions.SSLError):
        hint = (
            "name its certificate authority as `ca` in config.yaml, or list the host there under `insecure` "
            "if it uses plain http"
        )
    return RegistryUnreachable(
        f"no answer from {host}: {_printable(str(reason)).rpartition('): ')[2] or type(reason).__name__}",
        where=where,
        hint=hint,
        retryable=not isinstance(error, _NEVER_TRY_AGAIN),
    )


def too_slow(overrun: LimitExceeded, where: str) -> RegistryTooSlow:
    """The error for an exceeded time limit; `where` is the request."""
    host = where.partition("//")[2].partition("/")[0]
    hint = overrun.hint
    if overrun.awaited is Awaited.ENCRYPTION:
        hint += "; list the host under `insecure` if it uses plain http"
    return RegistryTooSlow(f"{canonical_host(host)} {overrun.story}", where=where, hint=hint, retryable=True)


def classified(error: Exception) -> Failure | None:
    """What an error of a request or transfer says about further attempts."""
    if isinstance(error, TransferCorrupt):
        return Failure(retryable=True, is_corrupt=True)
    if not isinstance(error, RegistryFailure):
        return None
    return Failure(
        error.retryable,
        is_slow=isinstance(error, RegistryTooSlow),
        is_unconnected=_never_connected(error),
        asked_seconds=error.retry_after,
    )


def _never_connected(error: RegistryFailure) -> bool:
    cause = error.__cause__
    if isinstance(cause, requests.ConnectTimeout):
        return True
    reason = getattr(cause.args[0], "reason", None) if cause is not None and cause.args else None
    return isinstance(reason, urllib3.exceptions.NewConnectionError)


def _kind(answer: Response, code: str) -> type[RegistryFailure]:
    if answer.status in (401, 403):
        return RegistryRefused
    if answer.status in (408, 429) or answer.status in (500, 502, 503, 504):
        return RegistryBusy
    if answer.status in (400, 404) and code in _BY_CODE:
        return _BY_CODE[code]
    if answer.status == 404:
        if "/manifests/" in answer.url:
            return ManifestUnknown
        if "/tags/" in answer.url:
            return RepositoryUnknown
        if answer.method in ("GET", "HEAD") and "/blobs/" in answer.url:
            return RemoteBlobUnknown
    return RegistryFailure


def _met_encryption(answer: Response) -> bool:
    """Whether a plain http request was sent to an https port; a response to HEAD cannot say so."""
    is_plain = answer.url.startswith("http://")
    return is_plain and (answer.method == "HEAD" or b"HTTP request to an HTTPS server" in answer.body)


def _code_and_message(body: bytes) -> tuple[str, str]:
    try:
        first = json.loads(body)["errors"][0]
        return _printable(str(first.get("code") or "")), _printable(str(first.get("message") or ""))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return "", ""


def _printable(text: str) -> str:
    """The text as one line that cannot control a terminal."""
    line = " ".join(text.split())
    return "".join(character for character in line if character.isprintable())[:_LONGEST_MESSAGE]


def _root(error: BaseException) -> BaseException:
    """The root cause, below the exceptions that repeat it with URLs and their queries."""
    for _ in range(8):
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((part for part in error.args if isinstance(part, BaseException)), None)
        if inner is None:
            break
        error = inner
    return error
