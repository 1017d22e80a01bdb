"""An answer of a registry that was read to its end, and how its place is told to people."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit

from mlxbuild.registry.oci.remote.errors import RegistryFailure


@dataclass(frozen=True, slots=True)
class Answer:
    """What a registry answered, with its body where that was small enough (`truncated` if not)."""

    method: str
    url: str
    status: int
    headers: Mapping[str, str]
    links: Mapping[str, str]
    body: bytes
    truncated: bool = False

    @property
    def where(self) -> str:
        """The method and the address without its query."""
        return place(self.method, self.url)


def place(method: str, url: str) -> str:
    """A method and an address for people, without the query and user of the address: those may be secret."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{method} {parts.scheme}://{host}{parts.path}"


def resolved(url: str, told: str) -> str:
    """The address that an answer from `url` tells, whole.

    Raises:
        RegistryFailure: it is none that can be asked.
    """
    try:
        address = urljoin(url, told)
        parts = urlsplit(address)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return address
    except ValueError:
        pass
    raise RegistryFailure("the registry tells an address that is none", where=place("", url).strip())


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """The pause that an answer asks for, if any (RFC 9110 §10.2.3)."""
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
