"""Where a repository is spoken to: host, scheme and path, with the rules of docker.io. Nothing is sent here."""

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
    """A repository at a registry. `host` is what people write, `address` what is connected to."""

    host: str
    address: str
    repository: str
    scheme: str = "https"
    ca: Path | None = None

    @property
    def name(self) -> str:
        """`host/repository`."""
        return f"{self.host}/{self.repository}"

    @property
    def origin(self) -> str:
        """`scheme://address`."""
        return f"{self.scheme}://{self.address}"

    @property
    def credential_keys(self) -> tuple[str, ...]:
        """The names under which credential files may know this registry, best first."""
        return credential_keys(self.host)

    def url(self, path: str) -> str:
        """The address of something in the repository, as `blobs/sha256:…`."""
        return f"{self.origin}/v2/{self.repository}/{path}"

    def mirrors(self, settings: Settings) -> tuple[Endpoint, ...]:
        """The same repository at the mirrors that the settings name, in order."""
        return tuple(
            locate(Reference.parse(f"{mirror}/{self.repository}"), settings)
            for mirror in settings.mirrors.get(self.host, ())
        )


def locate(reference: Reference, settings: Settings) -> Endpoint:
    """The endpoint of a reference; one without a host belongs to the default registry.

    Plain http is spoken only to loopback addresses without certificates and to hosts that the settings call insecure.

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
    """What is connected to."""
    return _DOCKER_ADDRESS if host == DOCKER else host


def scheme(host: str, settings: Settings) -> str:
    """http or https. A loopback address is plain unless the settings bring certificate authorities."""
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
    """The names under which credential files may know a registry, best first."""
    if host == DOCKER:
        return (_DOCKER_CREDENTIALS, DOCKER, "index.docker.io", "registry-1.docker.io")
    return (host, f"https://{host}", f"http://{host}", f"https://{host}/v2/", f"https://{host}/v1/")
