"""Points names of places that hold no artifacts, the Hub and Ollama, to the commands that take models from them."""

from __future__ import annotations

import re

from mlxbuild.registry.core.errors import UserError

_HUB = re.compile(r"(?:https?://)?(?:hf\.co|(?:www\.)?huggingface\.co)/(?P<name>[^/]+/[^/:@?#]+)[^\s]*")
_OLLAMA = re.compile(
    r"(?:ollama:|(?:https?://)?(?:registry\.ollama\.ai|(?:www\.)?ollama\.com)/(?:library/)?)(?P<name>[^\s?#]+)"
)


class NotARegistry(UserError):
    """A name belongs to the Hub or to Ollama, which hold models and no artifacts."""

    code = "not-a-registry"


def refuse_other_hubs(name: str) -> None:
    """Refuse a name of the Hub or of Ollama's registry.

    Raises:
        NotARegistry: with the command that takes the model from there.
    """
    if found := _HUB.fullmatch(name):
        raise NotARegistry(
            f"`{name}` is a model on the Hugging Face Hub, not an artifact in a registry",
            hint=f"`mlxbuild init {found['name']}` writes a recipe that builds it",
        )
    if found := _OLLAMA.fullmatch(name):
        raise NotARegistry(
            f"`{name}` is a model in Ollama's registry, not an artifact",
            hint=f"`mlxbuild import ollama:{found['name']}` takes it from there",
        )


def hint_for_hub(name: str) -> str | None:
    """What to write where a name without a host has the form of a model on the Hub, such as `org/model`."""
    if name.count("/") == 1 and ":" not in name and "@" not in name:
        return f"for a model on the Hub write `mlxbuild init {name}`"
    return None
