"""The endpoint of a repository: host, scheme and path, with the rules of docker.io."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from mlxbuild.registry.core.hosts import DOCKER, canonical_host
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.oci.remote.errors import NoRegistry
from mlxbuild.registry.oci.remote.settings import Settings

_DOCKER_ADDRESS = "registry-1.docker.io"
_DOCKER_CREDENTIALS = "https://index.docker.io/v1/"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A repository at a registry. `host` is written by users, `address` is the host to connect to."""

    host: str
    address: str
    repository: str
    scheme: str = "https"
    ca: Path | None = None

    @property
    def name(self) -> str:
        """The name, `host/repository`."""
        return f"{self.host}/{self.repository}"

    @property
    def origin(self) -> str:
        """The origin, `scheme://address`."""
        return f"{self.scheme}://{self.address}"

    @property
    def credential_keys(self) -> tuple[str, ...]:
        """The keys that credential files may use for this registry, preferred ones first."""
        return credential_keys(self.host)

    def url(self, path: str) -> str:
        """The URL of a path in the repository, such as `blobs/sha256:…`."""
        return f"{self.origin}/v2/{self.repository}/{path}"

    def mirrors(self, settings: Settings) -> tuple[Endpoint, ...]:
        """The same repository at the mirrors in the settings, in order."""
        return tuple(
            locate(Reference.parse(f"{mirror}/{self.repository}"), settings)
            for mirror in settings.mirrors.get(self.host, ())
        )


def locate(reference: Reference, settings: Settings) -> Endpoint:
    """The endpoint of a reference; one without a host belongs to the default registry.

    Plain http is used only for loopback addresses without certificates and for hosts that the settings call insecure.

    Raises:
        NoRegistry: there is no host and no default registry.
    """
    if reference.host is None:
        if settings.default_registry is None:
            raise NoRegistry(
                f"`{reference}` names no registry",
                hint=f"write host/{reference.repository}, or set default_registry in config.yaml",
            )
        return locate(Reference.parse(f"{settings.default_registry}/{reference.repository}"), settings)
    host, repository = canonical_host(reference.host), reference.repository
    if host == DOCKER and "/" not in repository:
        repository = f"library/{repository}"
    return Endpoint(host, address(host), repository, scheme(host, settings), settings.ca)


def address(host: str) -> str:
    """The host to connect to."""
    return _DOCKER_ADDRESS if host == DOCKER else host


def scheme(host: str, settings: Settings) -> str:
    """The scheme, http or https. A loopback address is plain unless the settings have certificate authorities."""
    if host in settings.insecure or host.rpartition(":")[0] in settings.insecure:
        return "http"
    return "http" if is_loopback(host) and settings.ca is None else "https"


def is_loopback(host: str) -> bool:
    """Whether a `host[:port]` is this machine."""
    name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def credential_keys(host: str) -> tuple[str, ...]:
    """The keys that credential files may use for a registry, preferred ones first."""
    if host == DOCKER:
        return (_DOCKER_CREDENTIALS, DOCKER, "index.docker.io", "registry-1.docker.io")
    return (host, f"https://{host}", f"http://{host}", f"https://{host}/v2/", f"https://{host}/v1/")
