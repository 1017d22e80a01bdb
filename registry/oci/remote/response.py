"""A complete HTTP response of a registry, and how its request is shown in messages."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit

from mlxbuild.registry.oci.remote.errors import RegistryFailure


@dataclass(frozen=True, slots=True)
class Response:
    """A response of a registry with its body, of which only the beginning is kept if it is `truncated`."""

    method: str
    url: str
    status: int
    headers: Mapping[str, str]
    links: Mapping[str, str]
    body: bytes
    truncated: bool = False

    @property
    def where(self) -> str:
        """The method and the URL without its query."""
        return place(self.method, self.url)


def place(method: str, url: str) -> str:
    """A method and a URL for messages, without the URL's query and user, which may be secret."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{method} {parts.scheme}://{host}{parts.path}"


def resolved(url: str, location: str) -> str:
    """Resolve the address that a response from `url` gives to an absolute URL.

    Raises:
        RegistryFailure: it is not a usable URL.
    """
    try:
        address = urljoin(url, location)
        parts = urlsplit(address)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return address
    except ValueError:
        pass
    raise RegistryFailure("the registry returned an invalid address", where=place("", url).strip())


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """The `Retry-After` of a response in seconds, if any (RFC 9110 §10.2.3)."""
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
