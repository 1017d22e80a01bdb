"""Sends HTTP requests to one registry, with time limits, retries, redirects and tokens."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from mlxbuild.registry.oci.remote.auth import Authorizer
from mlxbuild.registry.oci.remote.connections import encryption, watch_connections
from mlxbuild.registry.oci.remote.credentials import Credential, find
from mlxbuild.registry.oci.remote.endpoint import Endpoint
from mlxbuild.registry.oci.remote.error_mapping import NETWORK_ERRORS, classified, failure, too_slow, unreachable
from mlxbuild.registry.oci.remote.errors import RegistryFailure
from mlxbuild.registry.oci.remote.response import Response, place, resolved
from mlxbuild.registry.oci.remote.retry import retry
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.oci.remote.watch import Watch, watching

BODY_LIMIT_BYTES = 4 * 1024 * 1024
_BLOCK_BYTES = 256 * 1024
_MOST_REDIRECTS = 5
_MOST_CONNECTIONS = 32
_MOVED = frozenset({301, 302, 303, 307, 308})
_RETRYABLE = frozenset({408, 429, 500, 502, 503, 504})
_USER_AGENT = "mlxbuild"


class Readable(Protocol):
    """A body of known length that is streamed."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[bytes]: ...
    def read(self, size: int = -1) -> bytes: ...


Body = bytes | Callable[[], Readable]
"""A small body as bytes, or a function that opens the body from its start, called each time it is sent."""


class Transport:
    """Authorized requests to the registry of one endpoint. Safe for many threads at once."""

    def __init__(self, endpoint: Endpoint, settings: Settings, credential: Credential | None = None) -> None:
        """`credential` is used in place of the stored ones."""
        self.endpoint = endpoint
        self.settings = settings
        self._verify: bool | str = str(endpoint.ca) if endpoint.ca is not None else True
        self._session = _Session()
        for prefix in ("https://", "http://"):
            self._session.mount(prefix, _Adapter(pool_maxsize=_MOST_CONNECTIONS))
        self._authorizer = Authorizer(
            endpoint,
            (lambda: credential) if credential is not None else (lambda: find(endpoint)),
            lambda method, url, headers, data: self._retried(
                method, url, lambda: self._answer(self._follow(method, url, headers, data, None), BODY_LIMIT_BYTES)
            ),
            settings.realms,
        )

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        allowed: Collection[int] | None = (200,),
        actions: str = "pull",
        other_scopes: tuple[str, ...] = (),
        limit_bytes: int = BODY_LIMIT_BYTES,
        redirects: bool = True,
        retries: bool = True,
        unsettled_bytes: int = 0,
    ) -> Response:
        """Request a path below the repository, or an absolute URL, and read the response.

        Args:
            allowed: the statuses to return; others are raised as errors. None returns every status.
            actions: the actions that the token has to permit, as `pull,push`; `other_scopes` are further scopes.
            retries: whether the request may be retried after a failure.
            unsettled_bytes: the uploaded bytes that the registry has to process before it answers.

        Raises:
            RegistryFailure and its leaves.
        """
        url = self._address(path)

        def once() -> Response:
            response = self._authorised(
                method, url, headers or {}, body, actions, other_scopes, redirects, unsettled_bytes
            )
            return self._answer(response, limit_bytes)

        answer = self._retried(method, url, once) if retries else self._guarded(method, url, once)
        if allowed is not None and answer.status not in allowed:
            raise failure(answer)
        return answer

    @contextmanager
    def reading(
        self, path: str, *, headers: Mapping[str, str] | None = None, allowed: Collection[int] = (200,)
    ) -> Iterator[requests.Response]:
        """A GET whose body the caller reads, in a single attempt.

        Raises:
            RegistryFailure and its leaves, also for errors while the body is read inside the `with` statement.
        """
        url = self._address(path)
        with self._failures("GET", url):
            response = self._authorised("GET", url, headers or {}, None, "pull", (), True)
            try:
                if response.status_code not in allowed:
                    raise failure(self._answer(response, BODY_LIMIT_BYTES))
                yield response
            finally:
                response.close()

    def ping(self) -> None:
        """Request `/v2/`, which every registry answers."""
        self.request("GET", f"{self.endpoint.origin}/v2/", actions="")

    def close(self) -> None:
        """Close idle connections."""
        self._session.close()

    def _address(self, path: str) -> str:
        return path if path.startswith(("https://", "http://")) else self.endpoint.url(path)

    def _retried(self, method: str, url: str, once: Callable[[], Response]) -> Response:
        def attempt() -> Response:
            answer = self._guarded(method, url, once)
            if answer.status in _RETRYABLE:
                raise failure(answer)
            return answer

        return retry(attempt, self.settings.patience, classified)

    def _guarded(self, method: str, url: str, once: Callable[[], Response]) -> Response:
        with self._failures(method, url):
            return once()

    @contextmanager
    def _failures(self, method: str, url: str) -> Iterator[None]:
        try:
            yield
        except NETWORK_ERRORS as error:
            raise unreachable(error, place(method, url), self.endpoint.host) from error

    def _authorised(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | None,
        actions: str,
        other_scopes: tuple[str, ...],
        redirects: bool,
        unsettled_bytes: int = 0,
    ) -> requests.Response:
        def follow(authorization: str | None) -> requests.Response:
            return self._follow(
                method, url, headers, body, authorization, redirects=redirects, unsettled_bytes=unsettled_bytes
            )

        if not self._is_registry(url):
            return follow(None)
        scopes = (f"repository:{self.endpoint.repository}:{actions}", *other_scopes) if actions else other_scopes
        authorization = self._authorizer.header(scopes)
        response = follow(authorization)
        if response.status_code != 401 or not self._is_registry(response.url):
            return response
        challenge = response.headers.get("WWW-Authenticate", "")
        try:
            renewed = self._authorizer.renew(challenge, scopes, authorization)
        except BaseException:
            response.close()
            raise
        if renewed is None:
            return response
        _drain(response)
        return follow(renewed)

    def _follow(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | None,
        authorization: str | None,
        *,
        redirects: bool = True,
        unsettled_bytes: int = 0,
    ) -> requests.Response:
        """Send a request and follow redirects of reads explicitly, so that secrets in headers stay with their host."""
        home = _origin(url)
        for _ in range(_MOST_REDIRECTS + 1):
            sent = dict(headers)
            if authorization is not None and _origin(url) == home:
                sent["Authorization"] = authorization
            elif _origin(url) != home:
                sent.pop("Authorization", None)
            make_error = partial(too_slow, where=place(method, url))
            with watching(Watch(self.settings.limits, make_error, unsettled_bytes=unsettled_bytes)):
                response = self._session.request(
                    method,
                    url,
                    headers=sent,
                    data=body() if callable(body) else body,
                    stream=True,
                    allow_redirects=False,
                    timeout=(self.settings.connect_seconds, self.settings.read_seconds),  # used through a SOCKS proxy
                    verify=self._verify,
                )
            location = response.headers.get("Location")
            if response.status_code not in _MOVED or method not in ("GET", "HEAD") or not location or not redirects:
                return response
            _drain(response)
            target = resolved(url, location)
            if not _is_safe(url, target):
                raise RegistryFailure(
                    f"the registry redirects to {place('', target).strip()}, which is not encrypted",
                    where=place(method, url),
                )
            url = target
        raise RegistryFailure("the registry redirects endlessly", where=place(method, url))

    def _answer(self, response: requests.Response, limit_bytes: int) -> Response:
        with response:
            body = bytearray()
            while len(body) <= limit_bytes:
                piece = response.raw.read(_BLOCK_BYTES, decode_content=True)
                if not piece:
                    break
                body += piece
            truncated = len(body) > limit_bytes
            links = {relation: link["url"] for relation, link in response.links.items() if "url" in link}
            method = response.request.method or ""
            return Response(
                method,
                response.url,
                response.status_code,
                response.headers,
                links,
                bytes(body[:limit_bytes]),
                truncated,
            )

    def _is_registry(self, url: str) -> bool:
        return _origin(url) == _origin(self.endpoint.origin)


class _Session(requests.Session):
    """A session without cookies, like that of oras-py, whose import would take as long as ten requests."""

    def __init__(self) -> None:
        super().__init__()
        # Some registries treat a client with cookies as a browser.
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self.auth = _unchanged  # else requests would replace our tokens with credentials of ~/.netrc
        self.headers.update({"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"})

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """None, because redirects are followed above; requests would prepare them anyway, and fail on bad URLs."""
        return None


class _Adapter(HTTPAdapter):
    """Makes connections with time limits, and sends bodies in pieces that fill them."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, blocksize=_BLOCK_BYTES, ssl_context=encryption(), **options)
        watch_connections(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        if proxy in self.proxy_manager or proxy.lower().startswith("socks"):
            return super().proxy_manager_for(proxy, **options)
        manager = super().proxy_manager_for(proxy, ssl_context=encryption(), **options)
        watch_connections(manager)
        return manager


def _drain(response: requests.Response) -> None:
    """Read the short body of a response, so that its connection can be reused."""
    with response:
        response.raw.read(_BLOCK_BYTES)


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _is_safe(url: str, target: str) -> bool:
    """Whether a redirect does not go from https to http."""
    return urlsplit(target).scheme == "https" or (urlsplit(target).scheme == urlsplit(url).scheme == "http")
