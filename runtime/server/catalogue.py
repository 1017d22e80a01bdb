"""What is told of the models in the store without loading them, for whichever API lists them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.errors import BlobMissing
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.model.facts import ModelFacts
from mlxbuild.runtime.model.files import DEFAULTS_FILE, FACTS_FILE, TOKENIZER_FILE
from mlxbuild.runtime.model.infill import fills_gaps
from mlxbuild.runtime.server.logger import log

CONFIG_FILE = "config.json"


@dataclass(frozen=True, slots=True)
class ListedModel:
    """One artifact of the store."""

    artifact: Artifact
    facts: ModelFacts | None
    """None where another tool made it: they are found out when it is loaded."""
    config: Mapping[str, Any]
    """Its `config.json`."""
    fills_gaps: bool
    """Whether its tokenizer has tokens for that."""
    modified: datetime
    """When its manifest came into the store, in the local time zone."""

    @property
    def size_bytes(self) -> int:
        """Config and files, each distinct blob once."""
        return self.artifact.size_bytes - self.artifact.manifest.blob.size_bytes

    @property
    def family(self) -> str:
        """Such as `llama`; empty where the artifact does not tell."""
        return str(self._descriptor.get("family") or self.config.get("model_type") or "")

    @property
    def parameters(self) -> str:
        """Such as `1.2B`."""
        return str(self._settings.get("paramSize") or "")

    @property
    def quantization(self) -> str:
        """Such as `mlx-affine-4bit-g64`, or the type of the numbers."""
        return str(self._settings.get("quantization") or self._settings.get("precision") or "")

    @property
    def capabilities(self) -> tuple[str, ...]:
        """In Ollama's words."""
        known = ("completion",) if self.facts is None else self.facts.capabilities
        return (*known, "insert") if self.fills_gaps and "completion" in known else known

    @property
    def context_length(self) -> int | None:
        """How many tokens of one request it takes."""
        return None if self.facts is None else self.facts.longest_input

    def context_for_requests(self, longest: int | None) -> int | None:
        """How many tokens prompt and answer of a request may have that asks for no other context.

        `longest` is the server's own bound.
        """
        return min((each for each in (self.context_length, longest) if each is not None), default=None)

    @property
    def defaults(self) -> Mapping[str, Any]:
        """`mlxbuild/defaults.json`."""
        return _json_file(self.artifact, DEFAULTS_FILE)

    @property
    def _descriptor(self) -> Mapping[str, Any]:
        return self.artifact.config.get("descriptor") or {}

    @property
    def _settings(self) -> Mapping[str, Any]:
        return self.artifact.config.get("config") or {}


def list_models(store: Store) -> list[tuple[str, ListedModel]]:
    """Every name with its model, those that came last first. What cannot be read is left out, and logged.

    Raises:
        StoreFailure: the tags cannot be read, or there is no folder of blobs for them.
    """
    return sorted(_readable(store), key=lambda item: (-item[1].modified.timestamp(), item[0]))


def _readable(store: Store) -> Iterator[tuple[str, ListedModel]]:
    tags = store.tags.items()
    if tags:
        store.require_blobs()
    for name, descriptor in tags:
        try:
            yield name, describe(store, descriptor.digest)
        except MlxbuildError as error:
            log.warning("model-not-listed", model=name, code=error.code, reason=error.message)


def describe(store: Store, digest: Digest) -> ListedModel:
    """What is told of one artifact.

    Raises:
        BlobMissing, BlobCorrupt, InvalidManifest, BrokenFacts: it cannot be read.
    """
    return _described(str(store.home.root), digest, store.path(digest).stat().st_mtime)


@lru_cache(maxsize=1024)
def _described(home: str, digest: Digest, modified_seconds: float) -> ListedModel:

    artifact = Artifact.open(Store(Home(Path(home))), digest)
    facts = ModelFacts.from_json(artifact.read(FACTS_FILE)) if artifact.file(FACTS_FILE) else None
    modified = datetime.fromtimestamp(modified_seconds).astimezone()
    return ListedModel(artifact, facts, _json_file(artifact, CONFIG_FILE), _fills_gaps(artifact), modified)


def _fills_gaps(artifact: Artifact) -> bool:
    file = artifact.file(TOKENIZER_FILE)
    if file is None:
        return False
    try:
        return _tokens_for_gaps(artifact.store.path(file.blob.digest))
    except (BlobMissing, OSError):  # which is told when it is loaded
        return False


@lru_cache(maxsize=1024)
def _tokens_for_gaps(tokenizer: Path) -> bool:
    """Variants of a model share their tokenizer."""
    return fills_gaps(tokenizer.read_bytes())


def _json_file(artifact: Artifact, path: str) -> Mapping[str, Any]:
    return {} if artifact.file(path) is None else artifact.read_object(path)
