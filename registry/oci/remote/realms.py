"""Decides which token services may be sent the password of a registry.

A registry names its token service itself (the realm of a Bearer challenge). Whoever can change that response could
have the password sent anywhere, so it is sent only to the registry's own host, to well-known pairs, and to hosts that
`registries.yaml` in the home allows:

    realms:
      registry.example.com: [auth.example.com]
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from mlxbuild.registry.core.reference import InvalidReference, Reference
from mlxbuild.registry.oci.remote.errors import InvalidSettings
from mlxbuild.registry.oci.remote.setting_files import read_settings, texts
from mlxbuild.registry.store.durable import replace_file

FILE_NAME = "registries.yaml"
_KEY = "realms"
_KNOWN = {
    "docker.io": ("auth.docker.io",),
    "registry.gitlab.com": ("gitlab.com",),
    "registry.digitalocean.com": ("api.digitalocean.com",),
    "registry.cn-hangzhou.aliyuncs.com": ("dockerauth.cn-hangzhou.aliyuncs.com",),
    "docker.elastic.co": ("docker-auth.elastic.co",),
}
"""The token services of well-known registries. GHCR, Quay, ECR, Artifact Registry and ACR use their own hosts."""
_DEFAULT_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True, slots=True)
class Realms:
    """The hosts (`host[:port]`) that may get the password for each registry, besides its own and the known ones."""

    allowed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    file: Path | None = field(default=None, compare=False)
    """The file that they are kept in."""

    @classmethod
    def load(cls, file: Path) -> Realms:
        """The realms that a `registries.yaml` allows; none if the file does not exist.

        Raises:
            InvalidSettings: the file is invalid.
        """
        document = read_settings(file)
        if unknown := document.keys() - {_KEY}:
            raise InvalidSettings(f"there is no setting `{min(map(str, unknown))}`", where=str(file), hint=_FORM)
        written = document.get(_KEY) or {}
        if not isinstance(written, dict):
            raise InvalidSettings(
                "`realms` is not a map from registries to lists of hosts", where=str(file), hint=_FORM
            )
        allowed = {
            _checked(host, file): tuple(_checked(realm, file) for realm in texts(hosts, f"realms of {host}", file))
            for host, hosts in written.items()
        }
        return cls(allowed, file)

    def allow(self, registry: str, address: str, realm: str) -> bool:
        """Whether a realm's host may get the password for a registry: `registry` is the host as users write it,
        `address` the host that is connected to."""
        return realm in (registry, address, *_KNOWN.get(registry, ()), *self.allowed.get(registry, ()))

    def line(self, registry: str, realm: str) -> str:
        """The line below `realms:` that allows another realm."""
        hosts = (*self.allowed.get(registry, ()), realm)
        return f"{json.dumps(registry)}: [{', '.join(map(json.dumps, hosts))}]"

    def extended(self, registry: str, realm: str) -> Realms:
        """These realms and another one; nothing is written."""
        return replace(self, allowed={**self.allowed, registry: (*self.allowed.get(registry, ()), realm)})

    def keep(self, registry: str, realm: str) -> None:
        """Add another realm to the file; the rest of it is kept.

        Raises:
            InvalidSettings: the file has an unusual form, and has to be edited by hand.
            DiskFull, StoreReadOnly, StoreFailure: the file is unchanged.
        """
        assert self.file is not None
        text = self.file.read_text(encoding="utf-8") if self.file.exists() else f"{_KEY}:\n"
        block = _BLOCK.search(text)
        if block is None or registry in self.allowed:
            hint = f"add `{self.line(registry, realm)}` below `{_KEY}`"
            raise InvalidSettings(
                "the file has a layout that cannot be edited automatically", where=str(self.file), hint=hint
            )
        line = f"{block['indent'] or '  '}{self.line(registry, realm)}\n"
        data = f"{text[: block.end('key')]}{line}{text[block.end('key') :]}".encode()
        self.file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self.file, data, temporary_folder=self.file.parent)


_BLOCK = re.compile(rf"^(?P<key>{_KEY}:[ ]*\n)(?P<indent>[ ]+)?", re.MULTILINE)
_FORM = 'write it like this: `realms: {"registry.example.com": ["auth.example.com"]}`'


def host_of(url: str) -> str | None:
    """The host of a URL, with its port if it is not the scheme's default. None if parsers could disagree on the
    host."""
    parts = urlsplit(url)
    if parts.hostname is None or "@" in parts.netloc or "\\" in url or not url.isprintable():
        return None
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return name if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f"{name}:{parts.port}"


def _checked(host: object, file: Path) -> str:
    try:
        return str(Reference("name", host=str(host).lower()).host)
    except InvalidReference as error:
        raise InvalidSettings(f"`{host}` is not a host: {error.message}", where=str(file), hint=_FORM) from error
