"""Parses and compares references, the names of artifacts. The store and the registries resolve them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import UserError
from mlxbuild.registry.core.hosts import DOCKER, comparable_host, spellings

DEFAULT_TAG = "latest"
LONGEST_NAME = 255
LONGEST_TAG = 128

_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{{1,5}}))?")
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(rf"[a-zA-Z0-9_][a-zA-Z0-9._-]{{0,{LONGEST_TAG - 1}}}")

_FORM = "[host[:port]/][namespace/]name[:variant@version | :tag][@sha256:...]"


class InvalidReference(UserError):
    """A text is not a reference to an artifact."""

    code = "invalid-reference"


@dataclass(frozen=True, slots=True)
class Reference:
    """A repository with an optional host, tag and digest (OCI distribution-spec, "Pulling manifests").

    Only valid references can be made: `Reference.parse(str(reference)) == reference` always holds.

    Raises:
        InvalidReference: a part does not match its grammar.
    """

    repository: str
    tag: str | None = None
    digest: Digest | None = None
    host: str | None = None

    def __post_init__(self) -> None:
        if self.host is not None:
            _check_host(self.host)
        _check_repository(self.repository, self.host)
        if len(self.name) > LONGEST_NAME:
            raise InvalidReference(
                f"the name of {len(self.name)} characters is too long", hint=f"use at most {LONGEST_NAME}"
            )
        if self.tag is not None:
            _check_tag(self.tag)
        if self.digest is not None and self.digest.algorithm != "sha256":
            raise InvalidReference(f"`{self.digest}` cannot name an artifact", hint="use its sha256 digest")

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read `[host[:port]/][namespace/]name[:variant@version | :tag][@sha256:...]`.

        `int4@1.0` becomes the tag `int4-1.0`. The first of several components is a host when it holds a dot or a
        colon or is `localhost`; a host is lowercased.

        Raises:
            InvalidReference: with a hint on what to write instead.
        """
        if not text:
            raise InvalidReference("the name is empty", hint=f"write {_FORM}")
        if re.fullmatch(r"(?:sha256|blake3):[0-9a-fA-F]{64}", text):
            raise InvalidReference(f"`{text}` is a digest without a name", hint=f"write name@{text}")
        rest, digest = _split_digest(text)
        path, tag = _split_tag(rest)
        host, repository = _split_host(path)
        return cls(repository, tag, digest, host)

    @property
    def name(self) -> str:
        """The repository, prefixed with its host if it has one."""
        return self.repository if self.host is None else f"{self.host}/{self.repository}"

    @property
    def store_name(self) -> str:
        """`name:tag`, the key in the store's index.json; the tag defaults to `latest`."""
        return f"{self.name}:{self.tag or DEFAULT_TAG}"

    def matches(self, pattern: str) -> bool:
        """Whether a pattern matches this name, with or without its tag: `*` matches anything, including `/`.

        `variant@version` in a pattern is the tag `variant-version`, as in a name. All spellings of a host are
        equivalent: capitals, a default port and the names of Docker's registry make no difference.
        """
        meant, tag = _lowered(pattern), self.tag or DEFAULT_TAG
        return any(fnmatchcase(name, meant) or fnmatchcase(f"{name}:{tag}", meant) for name in self._spellings())

    def _spellings(self) -> frozenset[str]:
        """All names of the same repository."""
        if self.host is None:
            return frozenset({self.repository})
        repositories = {self.repository}
        if comparable_host(self.host) == DOCKER:
            short = self.repository.removeprefix("library/")
            repositories |= {short, f"library/{short}"} if "/" not in short else set()
        return frozenset(f"{host}/{repository}" for host in spellings(self.host) for repository in repositories)

    def __str__(self) -> str:
        tag = "" if self.tag is None else f":{self.tag}"
        digest = "" if self.digest is None else f"@{self.digest}"
        return f"{self.name}{tag}{digest}"

    def __lt__(self, other: Reference) -> bool:
        """Order by the written form, so that absent parts compare too."""
        return str(self) < str(other)


def _lowered(pattern: str) -> str:
    """Normalize a pattern: everything but a tag in lowercase, and a host without wildcards as in `comparable_host`."""
    folder, slash, last = pattern.replace("@", "-").rpartition("/")
    name, colon, tag = last.partition(":")
    host, slash, repository = f"{folder}{slash}{name}".lower().partition("/")
    if slash and _HOST.fullmatch(host):
        host = comparable_host(host).replace("[", "[[]")  # the brackets of an IPv6 address are no character class
    return f"{host}{slash}{repository}{colon}{tag}"


def _split_digest(text: str) -> tuple[str, Digest | None]:
    rest, at, last = text.rpartition("@")
    if not at or ":" not in last or "/" in last:
        return text, None
    return rest, Digest.parse(last) if last.startswith(("sha256:", "blake3:")) else _no_digest(last)


def _no_digest(text: str) -> Digest:
    raise InvalidReference(f"`{text}` is not a digest", hint="write @sha256: and 64 lowercase hex digits")


def _split_tag(text: str) -> tuple[str, str | None]:
    folder, slash, last = text.rpartition("/")
    name, colon, tag = last.partition(":")
    if "@" in name:
        name, _, version = name.partition("@")
        raise InvalidReference(
            f"`{text}` names a version without a variant", hint=f"write {folder}{slash}{name}:variant@{version}"
        )
    if not colon:
        return text, None
    variant, at, version = tag.partition("@")
    if not at:
        return f"{folder}{slash}{name}", tag
    if not variant or not version or "@" in version:
        raise InvalidReference(f"`{tag}` is not variant@version", hint=f"write {_FORM}")
    return f"{folder}{slash}{name}", f"{variant}-{version}"


def _split_host(path: str) -> tuple[str | None, str]:
    first, slash, rest = path.partition("/")
    if slash and _looks_like_host(first):
        return first.lower(), rest
    return None, path


def _looks_like_host(component: str) -> bool:
    return "." in component or ":" in component or component.lower() == "localhost"


def _check_host(host: str) -> None:
    match = _HOST.fullmatch(host)
    if match is None or not _looks_like_host(host) or int(match["port"] or 0) > 65535:
        raise InvalidReference(f"`{host}` is not a registry host", hint="write a domain name, with :port if needed")


def _check_repository(repository: str, host: str | None) -> None:
    if _REPOSITORY.fullmatch(repository) is None:
        if repository != repository.lower() and _REPOSITORY.fullmatch(repository.lower()):
            raise InvalidReference(
                f"`{repository}` has uppercase letters, which names cannot hold",
                hint=f"write {f'{host}/' if host else ''}{repository.lower()}",
            )
        raise InvalidReference(
            f"`{repository}` is not a name",
            hint="use lowercase letters and digits, joined by `.`, `_`, `__` or `-`, and `/` between parts",
        )
    first, slash, _ = repository.partition("/")
    if host is None and slash and _looks_like_host(first):
        raise InvalidReference(f"`{first}` reads as a host", hint="give it as the host")


def _check_tag(tag: str) -> None:
    if _TAG.fullmatch(tag) is None:
        raise InvalidReference(
            f"`{tag}` is not a tag",
            hint=f"use at most {LONGEST_TAG} letters, digits, `.`, `_` and `-`, not starting with `.` or `-`",
        )
