"""Authorization headers for one registry: Basic, and Bearer tokens by scope."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from urllib.parse import urlencode, urlsplit

from requests.utils import parse_dict_header

from mlxbuild.registry.core.bounded_json import decode
from mlxbuild.registry.oci.remote.credentials import Credential
from mlxbuild.registry.oci.remote.endpoint import Endpoint
from mlxbuild.registry.oci.remote.error_mapping import failure
from mlxbuild.registry.oci.remote.errors import RealmNotAllowed, RegistryFailure, RegistryRefused
from mlxbuild.registry.oci.remote.realms import FILE_NAME, Realms, host_of
from mlxbuild.registry.oci.remote.response import Response, resolved

_CLIENT = "mlxbuild"
_SCHEME = re.compile(r"(?:^|,)\s*(basic|bearer)(?:\s+|$)", re.IGNORECASE)
_SHORTEST_LIFE_SECONDS = 60
_LONGEST_LIFE_SECONDS = 366 * 24 * 3600
_MARGIN_SECONDS = 10
_TOKEN = re.compile(r"[!-~]{1,65536}")
"""Tokens that fit in a header; the limit is more than any registry accepts."""

Scopes = tuple[str, ...]
Ask = Callable[[str, str, Mapping[str, str], bytes | None], Response]
"""A function that sends a request (method, URL, headers and body) with retries."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """An authentication challenge (RFC 9110 §11.6.1, and the token specification of distribution)."""

    bearer: bool
    realm: str = ""
    service: str = ""
    scopes: Scopes = ()


@dataclass(frozen=True, slots=True)
class _Held:
    header: str
    ends: float


class Authorizer:
    """The `Authorization` headers. Safe for many threads: they share one token per scope, which one of them renews."""

    def __init__(
        self, endpoint: Endpoint, credential: Callable[[], Credential | None], ask: Ask, realms: Realms
    ) -> None:
        self._endpoint = endpoint
        self._realms = realms
        self._find_credential = credential
        self._ask = ask
        self._held: dict[Scopes, _Held] = {}
        self._basic: str | None = None
        self._lock = threading.Lock()

    def header(self, scopes: Scopes) -> str | None:
        """The last accepted header, if it has not expired; None means to send the request without one."""
        held = self._held.get(scopes)
        if held is not None and time.monotonic() < held.ends:
            return held.header
        return self._basic

    def renew(self, challenge: str, scopes: Scopes, rejected: str | None) -> str | None:
        """Answer a 401 with another header than the `rejected` one; None if there is none.

        Raises:
            RegistryRefused: the credentials are wrong.
            RealmNotAllowed: they would be sent to another host, which has not been allowed; nothing was sent.
            RegistryFailure: the token service gives no token.
            CredentialsFailure: they cannot be read.
        """
        parsed = parse_challenge(challenge)
        if parsed is None:
            return None
        with self._lock:
            held = self.header(scopes)
            if held is not None and held != rejected:
                return held  # another thread was faster
            credential = self._find_credential()
            if not parsed.bearer:
                self._basic = _basic(credential)
                return self._basic if self._basic != rejected else None
            if credential is not None and credential.registry_token:
                token = f"Bearer {credential.registry_token}"
                self._held[scopes] = _Held(token, float("inf"))
                return token if token != rejected else None
            self._held[scopes] = self._fetch(parsed, scopes, credential)
            return self._held[scopes].header

    def _fetch(self, challenge: Challenge, scopes: Scopes, credential: Credential | None) -> _Held:
        realm = self._realm(challenge, credential)
        ours = {scope.rpartition(":")[0] for scope in scopes}
        wanted = [*scopes, *(scope for scope in challenge.scopes if scope.rpartition(":")[0] not in ours)]
        service = [("service", challenge.service)] if challenge.service else []
        begun = time.monotonic()
        if credential is not None and credential.identity_token:
            form = [
                ("grant_type", "refresh_token"),
                ("refresh_token", credential.identity_token),
                ("client_id", _CLIENT),
                ("scope", " ".join(wanted)),
                *service,
            ]
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = self._asked("POST", realm, kind, urlencode(form).encode())
        else:
            query = urlencode([*service, *(("scope", scope) for scope in wanted)])
            joint = "&" if urlsplit(realm).query else "?"
            basic = _basic(credential)
            headers = {} if basic is None else {"Authorization": basic}
            answer = self._asked("GET", f"{realm}{joint}{query}", headers, None)
        if answer.status != 200:
            raise self._refusal(answer)
        token, seconds = _token(answer)
        return _Held(f"Bearer {token}", begun + max(seconds, _SHORTEST_LIFE_SECONDS) - _MARGIN_SECONDS)

    def _asked(self, method: str, url: str, headers: Mapping[str, str], data: bytes | None) -> Response:
        try:
            return self._ask(method, url, headers, data)
        except RegistryFailure as error:
            error.retryable = False  # it was tried again already
            raise

    def _realm(self, challenge: Challenge, credential: Credential | None) -> str:
        """The address of the token service, if the credential may be sent to it."""
        url = resolved(self._endpoint.origin, challenge.realm)
        where = f"{self._endpoint.host}, realm {challenge.realm.partition('?')[0]}"
        scheme = urlsplit(url).scheme
        if scheme != "https" and not (scheme == "http" and self._endpoint.scheme == "http"):
            raise RegistryFailure("the registry sends credentials to an address that is not encrypted", where=where)
        host = host_of(url)
        if host is None:
            raise RegistryFailure("the registry returned an invalid address", where=where)
        registry, realms = self._endpoint.host, self._realms
        own = host_of(self._endpoint.origin) or self._endpoint.address
        if credential is None or realms.allow(registry, own, host):
            return url
        raise RealmNotAllowed(
            f"{registry} asks for its password to be sent to {host}, which is another host",
            realm=host,
            where=where,
            hint=f"if that is its own token service, add the line `{realms.line(registry, host)}` below `realms:` in "
            f"{realms.file or FILE_NAME}, or run `mlxbuild login {registry}` on a terminal, which asks",
        )

    def _refusal(self, answer: Response) -> RegistryFailure:
        if answer.status not in (400, 401, 403):
            error = failure(answer)
            error.retryable = False  # it was tried again already
            return error
        return RegistryRefused(
            f"the token service of {self._endpoint.host} answered {answer.status}: credentials are wrong or missing",
            where=answer.where,
            hint=f"log in with `mlxbuild login {self._endpoint.host}`",
            status=answer.status,
        )


def parse_challenge(header: str) -> Challenge | None:
    """The preferred challenge of a `WWW-Authenticate` header: Bearer before Basic; None if it has neither."""
    marks = list(_SCHEME.finditer(header))
    challenges: list[Challenge] = []
    for mark, following in zip_longest(marks, marks[1:]):
        parameters = parse_dict_header(header[mark.end() : following.start() if following else len(header)])
        values = {str(key).lower(): value or "" for key, value in parameters.items()}
        bearer = mark[1].lower() == "bearer"
        if bearer and not values.get("realm"):
            continue
        scopes = tuple(values.get("scope", "").split())
        challenges.append(Challenge(bearer, values.get("realm", ""), values.get("service", ""), scopes))
    return max(challenges, key=lambda challenge: challenge.bearer, default=None)


def _basic(credential: Credential | None) -> str | None:
    if credential is None or not credential.username:
        return None
    from oras.auth.utils import get_basic_auth  # loaded only with credentials

    return f"Basic {get_basic_auth(credential.username, credential.password)}"


def _token(answer: Response) -> tuple[str, float]:
    try:
        document = decode(answer.body)
        token = document.get("token") or document.get("access_token")
        seconds = document.get("expires_in")
    except (ValueError, AttributeError):
        token, seconds = None, None
    if not isinstance(token, str) or _TOKEN.fullmatch(token) is None:
        raise RegistryFailure("the token service returned no token", where=answer.where)
    is_sound = isinstance(seconds, int | float) and 0 < seconds < _LONGEST_LIFE_SECONDS  # false for NaN
    return token, float(seconds) if is_sound else 0.0
