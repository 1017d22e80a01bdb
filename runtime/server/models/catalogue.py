"""Describes the models in the store without loading them, for the lists of all APIs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from mlxbuild.registry.artifact.aliases import grouped
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
    """The description of one artifact in the store."""

    artifact: Artifact
    facts: ModelFacts | None
    """None if another tool made the artifact; the facts are then determined when the model is loaded."""
    config: Mapping[str, Any]
    """The artifact's `config.json`."""
    fills_gaps: bool
    """Whether the tokenizer has fill-in-the-middle tokens."""
    modified: datetime
    """When the manifest was added to the store, in the local time zone."""

    @property
    def size_bytes(self) -> int:
        """The size of config and files; each distinct blob counts once."""
        return self.artifact.size_bytes - self.artifact.manifest.blob.size_bytes

    @property
    def family(self) -> str:
        """The model family, such as `llama`; empty if unknown."""
        return str(self._descriptor.get("family") or self.config.get("model_type") or "")

    @property
    def parameters(self) -> str:
        """The parameter count, such as `1.2B`; empty if unknown."""
        return str(self._settings.get("paramSize") or "")

    @property
    def quantization(self) -> str:
        """The quantization, such as `mlx-affine-4bit-g64`, or else the dtype."""
        return str(self._settings.get("quantization") or self._settings.get("precision") or "")

    @property
    def capabilities(self) -> tuple[str, ...]:
        """The model's capabilities by Ollama's names."""
        known = ("completion",) if self.facts is None else self.facts.capabilities
        return (*known, "insert") if self.fills_gaps and "completion" in known else known

    @property
    def context_length(self) -> int | None:
        """The maximum number of tokens of one request; None if unknown."""
        return None if self.facts is None else self.facts.longest_input

    def context_for_requests(self, longest: int | None) -> int | None:
        """The context length of requests that do not set one: the most tokens of prompt and answer together.

        `longest` is the server's own limit.
        """
        return min((each for each in (self.context_length, longest) if each is not None), default=None)

    @property
    def defaults(self) -> Mapping[str, Any]:
        """The contents of `mlxbuild/defaults.json`."""
        return _json_file(self.artifact, DEFAULTS_FILE)

    @property
    def _descriptor(self) -> Mapping[str, Any]:
        return self.artifact.config.get("descriptor") or {}

    @property
    def _settings(self) -> Mapping[str, Any]:
        return self.artifact.config.get("config") or {}


@dataclass(frozen=True, slots=True)
class Listing:
    """One row of a list of models: a model under the name that is shown."""

    name: str
    aliases: tuple[str, ...]
    """Its other names in the same repository, by which it can be asked as well."""
    model: ListedModel


def list_models(store: Store) -> list[Listing]:
    """All models, each once in a repository, the newest first. Those that cannot be read are left out, and logged.

    Raises:
        StoreFailure: the tags cannot be read, or the folder of their blobs is missing.
    """
    return sorted(_readable(store), key=lambda row: (-row.model.modified.timestamp(), row.name))


def _readable(store: Store) -> Iterator[Listing]:
    tags = store.tags.items()
    if tags:
        store.require_blobs()
    names = ((name, descriptor.digest) for name, descriptor in tags)
    for named in grouped(names, lambda digest: describe(store, digest).artifact.manifest.annotations):
        try:
            yield Listing(named.name, named.aliases, describe(store, named.digest))
        except MlxbuildError as error:
            log.warning("model-not-listed", model=named.name, code=error.code, reason=error.message)


def describe(store: Store, digest: Digest) -> ListedModel:
    """Describe one artifact.

    Raises:
        BlobMissing, BlobCorrupt, InvalidManifest, BrokenFacts: the artifact cannot be read.
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
    except (BlobMissing, OSError):  # the error is reported when the model is loaded
        return False


@lru_cache(maxsize=1024)
def _tokens_for_gaps(tokenizer: Path) -> bool:
    """Cached by path, as the variants of a model share their tokenizer."""
    return fills_gaps(tokenizer.read_bytes())


def _json_file(artifact: Artifact, path: str) -> Mapping[str, Any]:
    return {} if artifact.file(path) is None else artifact.read_object(path)
