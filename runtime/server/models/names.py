"""Resolves a client's model name to an artifact in the store; `registry.core.reference` parses references.

Clients of Ollama leave out tags, and write names in any case. So a name without a tag means the tag `latest`; if there
is none, and all tags of the name refer to one artifact, it means that one. A name that is not found as written is
matched case-insensitively. `variant@version` means the tag `variant-version`, as everywhere.
"""

from __future__ import annotations

from mlxbuild.registry.core.digest import Digest, InvalidDigest
from mlxbuild.registry.core.reference import DEFAULT_TAG, InvalidReference, Reference
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.tags import UnknownReference


def parse_name(text: str) -> Reference:
    """Parse a client's name: strips spaces, and lowercases the repository.

    Raises:
        InvalidReference: the text is not a name.
    """
    text = text.strip()
    try:
        return Reference.parse(text)
    except InvalidDigest as error:
        raise InvalidReference(error.message, hint=error.hint) from None
    except InvalidReference:
        folder, slash, last = text.rpartition("/")
        name, colon, rest = last.partition(":")
        lowered = f"{folder.lower()}{slash}{name.lower()}{colon}{rest}"
        if lowered == text:
            raise
        return Reference.parse(lowered)


def find_model(store: Store, text: str) -> tuple[Reference, Digest]:
    """Find the artifact of a client's name; the returned reference has a tag or a digest.

    Raises:
        InvalidReference: the text is not a name.
        UnknownReference: the store has no such artifact.
    """
    reference = parse_name(text)
    if reference.digest is not None:
        return reference, store.tags.resolve(reference)
    wanted = reference.store_name
    tags = {name: descriptor.digest for name, descriptor in store.tags.items()}
    if wanted in tags:
        return Reference.parse(wanted), tags[wanted]
    alike = [name for name in tags if name.lower() == wanted.lower()]
    if not alike and reference.tag is None:
        alike = [name for name in tags if name.rpartition(":")[0] == reference.name]
    if len({tags[name] for name in alike}) == 1:
        return Reference.parse(alike[0]), tags[alike[0]]
    try:
        return Reference.parse(wanted), store.tags.resolve(reference)  # it may have been added meanwhile
    except UnknownReference as error:
        raise UnknownReference(f"model '{text}' not found", hint=error.hint) from None


def display_name(store_name: str) -> str:
    """A name as lists show it, always with its tag."""
    return store_name if ":" in store_name.rpartition("/")[2] else f"{store_name}:{DEFAULT_TAG}"
