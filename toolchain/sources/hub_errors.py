"""Translates exceptions of the Hub client to errors that a person can act on, without credentials in their text."""

from __future__ import annotations

import errno
import importlib
from typing import Any

from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.core.quantities import format_seconds
from mlxbuild.registry.oci.remote.watch import LimitExceeded
from mlxbuild.registry.store.errors import DiskFull
from mlxbuild.toolchain.sources.errors import (
    AccessDenied,
    GatedRepository,
    HubCacheFailure,
    HubRateLimited,
    HubTooSlow,
    HubUnreachable,
    Offline,
    RepositoryMissing,
    RevisionMissing,
    SourceMissing,
)
from mlxbuild.toolchain.sources.hub_settings import HubSettings
from mlxbuild.toolchain.sources.secrets import redact

_CHECK = "check the connection, the proxy and HF_ENDPOINT, then try again"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def client_errors() -> tuple[type[Exception], ...]:
    """All exception types that calls of the Hub client may raise, including those for invalid answers."""
    from huggingface_hub import errors

    http = http_library()
    return (
        OSError,  # covers the client's errors for HTTP, offline mode, missing entries and metadata
        http.HTTPError,
        http.InvalidURL,
        http.CookieConflict,
        errors.CacheNotFound,
        errors.CachedRepoTreeNotFoundError,
        errors.CorruptedCacheException,
        errors.DeviceCodeError,
        errors.EntryNotFoundError,
        errors.OIDCError,
        errors.RevisionResolutionError,
        errors.XetDownloadError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        AssertionError,
        RuntimeError,
    )


def http_library() -> Any:
    """The HTTP library that the Hub client uses, which differs between versions."""
    from huggingface_hub import errors

    return importlib.import_module(errors.HfHubHTTPError.__bases__[0].__module__.partition(".")[0])


def client_utilities() -> Any:
    """The public module `huggingface_hub.utils`, whose names are missing from its type hints."""
    return importlib.import_module("huggingface_hub.utils")


def translate(problem: BaseException, *, repository: str, revision: str, path: str | None = None) -> MlxbuildError:
    """The error for an exception of the Hub client.

    Args:
        problem: What the client raised.
        repository: The requested repository.
        revision: The requested revision.
        path: The requested file, if any.
    """
    from huggingface_hub import errors

    settings = HubSettings.from_environment()
    where = f"{repository}@{revision}" + (f"/{path}" if path else "")
    match problem:
        case MlxbuildError():
            return problem
        case errors.GatedRepoError():
            return GatedRepository(
                f"`{repository}` is gated: its owner asks for terms to be accepted first",
                where=where,
                hint=f"accept them at {redact(settings.endpoint)}/{repository} and set HF_TOKEN to your token",
            )
        case errors.RepositoryNotFoundError() | errors.DisabledRepoError() | errors.HFValidationError():
            return RepositoryMissing(
                f"the Hub has no repository `{repository}`",
                where=where,
                hint="check the name (`owner/name`); for a private repository set HF_TOKEN",
            )
        case errors.RevisionNotFoundError():
            return RevisionMissing(
                f"`{repository}` has no revision `{revision}`",
                where=where,
                hint="name a branch, tag or commit that exists; a commit may be gone after a force push",
            )
        case errors.LocalEntryNotFoundError() | errors.RevisionResolutionError() if problem.__cause__ is not None:
            return translate(problem.__cause__, repository=repository, revision=revision, path=path)
        case errors.OfflineModeIsEnabled() | errors.LocalEntryNotFoundError() | errors.RevisionResolutionError():
            return offline(where)
        case errors.RemoteEntryNotFoundError() | errors.EntryNotFoundError():
            return SourceMissing(
                f"`{repository}` has no file `{path}` at `{revision}`",
                where=where,
                hint="lock again: the repository's history may have been rewritten",
            )
        case errors.LocalTokenNotFoundError() | errors.OIDCError() | errors.DeviceCodeError():
            return _denied(where)
        case errors.HfHubHTTPError():
            return _refused(problem.response.status_code, problem, where, settings)
        case errors.FileMetadataError():
            return _unreachable("does not answer like a Hub", where, settings)
    if isinstance(problem, OSError) and problem.errno in _FULL:
        return DiskFull(
            "the disk is full: the Hub client's cache cannot grow",
            where=str(settings.cache),
            hint="free some space, or set HF_HUB_CACHE to a folder on another disk",
        )
    if isinstance(problem, OSError) and problem.errno in _FORBIDDEN:
        return HubCacheFailure(
            f"the Hub client's cache cannot be written to: {problem.strerror}",
            where=str(settings.cache),
            hint="check the owner of the folder, or set HF_HUB_CACHE to another one",
        )
    detail = redact(str(problem)).partition("\n")[0][:200]
    return _unreachable(f"cannot be read from ({type(problem).__name__}: {detail})", where, settings)


def offline(where: str) -> Offline:
    """The error for something that is needed from the Hub while offline."""
    return Offline(
        "this is not on this machine, and HF_HUB_OFFLINE is set",
        where=where,
        hint="unset HF_HUB_OFFLINE, or fill the Hub client's cache first",
    )


def wait_seconds(problem: BaseException) -> float | None:
    """How many seconds the Hub asks to wait before the next request, or None."""
    from huggingface_hub import errors

    if not isinstance(problem, errors.HfHubHTTPError):
        return None
    headers = problem.response.headers
    limit = client_utilities().parse_ratelimit_headers(headers)
    if problem.response.status_code == 429 and limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    after = headers.get("retry-after", "").strip()
    return float(after) if after.isdigit() else None


def _refused(status: int, problem: BaseException, where: str, settings: HubSettings) -> MlxbuildError:
    if status in (401, 403):
        return _denied(where)
    if status == 429:
        pause = wait_seconds(problem)
        asked = "" if pause is None else f" and asks to wait {pause:.0f} s"
        return HubRateLimited(
            f"the Hub limits the rate of requests{asked}",
            where=where,
            hint="try again later, or set HF_TOKEN: signed-in users have a higher limit",
        )
    return _unreachable(f"answers with status {status}", where, settings)


def never_connected(problem: BaseException) -> bool:
    """Whether no connection was made: there is no route, the name has no address, or nobody listens there."""
    return isinstance(problem, http_library().ConnectError)


def too_slow(overrun: LimitExceeded, where: str, settings: HubSettings, *, brief: bool = False) -> HubTooSlow:
    """The error for a request that exceeded a time limit; a brief one has its own limit for the connection."""
    hint = _CHECK if brief and overrun.setting == "connect_seconds" else overrun.hint
    return HubTooSlow(f"the Hub at {redact(settings.endpoint)} {overrun.story}", where=where, hint=hint)


def too_late(seconds: float, where: str, settings: HubSettings) -> HubTooSlow:
    """The error for an answer that took too long in all."""
    story = f"gave no whole answer within {format_seconds(seconds)}"
    return HubTooSlow(f"the Hub at {redact(settings.endpoint)} {story}", where=where, hint=_CHECK)


def _denied(where: str) -> AccessDenied:
    return AccessDenied(
        "the Hub refuses access", where=where, hint="set HF_TOKEN to a token that may read the repository"
    )


def _unreachable(reason: str, where: str, settings: HubSettings) -> HubUnreachable:
    return HubUnreachable(
        f"the Hub at {redact(settings.endpoint)} {reason}",
        where=where,
        hint=f"{_CHECK}: finished files are kept",
    )
