"""Parses the names of Ollama models.

Grammar: https://github.com/ollama/ollama/blob/main/types/model/name.go
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from mlxbuild.registry.core.errors import UserError

DEFAULT_HOST: Final = "registry.ollama.ai"
DEFAULT_NAMESPACE: Final = "library"
DEFAULT_TAG: Final = "latest"

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,349}(?::[0-9]{1,5})?")
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")


class InvalidOllamaName(UserError):
    """A text is not the name of a model in Ollama's registry."""

    code = "invalid-ollama-name"


@dataclass(frozen=True, slots=True)
class OllamaName:
    """A model name `[host/][namespace/]model[:tag]`; use `parse` to get a valid one."""

    host: str
    namespace: str
    model: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> OllamaName:
        """Parse a name; defaults are Ollama's registry, its namespace `library` and the tag `latest`.

        Raises:
            InvalidOllamaName: it does not match the grammar.
        """
        rest, _, tag = text.rpartition(":") if ":" in text.rpartition("/")[2] else (text, "", DEFAULT_TAG)
        *before, model = rest.removeprefix("https://").split("/")
        host, namespace = (
            (DEFAULT_HOST, DEFAULT_NAMESPACE)
            if not before
            else (DEFAULT_HOST, before[0])
            if len(before) == 1
            else (before[0], before[1])
        )
        parts = ((_HOST, host), (_NAMESPACE, namespace), (_PART, model), (_PART, tag))
        if len(before) > 2 or not all(grammar.fullmatch(part) for grammar, part in parts):
            raise InvalidOllamaName(
                f"`{text[:120]}` is not a name of Ollama", hint="write [host/][namespace/]model[:tag], as qwen3:0.6b"
            )
        return cls(host, namespace, model, tag)

    @property
    def repository(self) -> str:
        """The repository's path in the registry."""
        return f"{self.namespace}/{self.model}"

    @property
    def full(self) -> str:
        """The name with all its parts."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    def __str__(self) -> str:
        """The name as Ollama shows it: without default host and namespace, but always with the tag."""
        host = "" if self.host == DEFAULT_HOST else f"{self.host}/"
        namespace = "" if self.namespace == DEFAULT_NAMESPACE and not host else f"{self.namespace}/"
        return f"{host}{namespace}{self.model}:{self.tag}"
