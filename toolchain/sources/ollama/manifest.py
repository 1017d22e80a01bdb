"""Parses and validates manifests of Ollama's registry.

Format: Docker's "Image Manifest V 2, Schema 2"; the media types of layers are listed in
https://github.com/ollama/ollama/blob/main/manifest/layer.go
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mlxbuild.registry.artifact.files import collisions, unsafe
from mlxbuild.registry.core.digest import Blob, Digest, InvalidDigest
from mlxbuild.registry.core.errors import UserError
from mlxbuild.toolchain.sources.selection import SIDE_FILES, matches

MODEL_FILE: Final = "model.gguf"
PARAMETERS_FILE: Final = "params.json"
SYSTEM_FILE: Final = "system.txt"
MESSAGES_FILE: Final = "messages.json"
LICENSE_FILE: Final = "LICENSE"
CONFIGURATION_FILE: Final = "original/config.json"
"""The config.json of a model in safetensors, before the quantization of its blobs is added to it."""

SMALL_BYTES: Final = 4 << 20
"""The largest size of a layer with texts or parameters."""

_PREFIX = "application/vnd.ollama.image."
_MOST_LAYERS = 1 << 17
_SINGLE: Final = {
    "model": MODEL_FILE,
    "params": PARAMETERS_FILE,
    "system": SYSTEM_FILE,
    "messages": MESSAGES_FILE,
}
_DROPPED: Final = {
    "projector": "its vision projector (`projector`)",
    "draft": "its draft model (`draft`)",
    "embed": "embeddings of an older format (`embed`)",
}
_DRAFT_PREFIXES: Final = ("draft.", "draft/")
_LEFT: Final = frozenset({"template", "prompt"})
"""Go templates, which are ignored: the model's own Jinja template is used."""


class BrokenOllamaManifest(UserError):
    """A manifest of Ollama's registry is invalid or contradicts itself."""

    code = "broken-ollama-manifest"


class UnsupportedOllamaModel(UserError):
    """A model of Ollama's registry has a form that is not supported."""

    code = "unsupported-ollama-model"


@dataclass(frozen=True, slots=True)
class OllamaLayer:
    """A layer of a manifest."""

    kind: str
    """The last part of its media type: `model`, `params`, `tensor`, ..."""
    blob: Blob
    name: str | None
    """Name of a tensor or of a JSON file."""


@dataclass(frozen=True, slots=True)
class OllamaManifest:
    """A validated manifest."""

    digest: Digest
    layers: tuple[OllamaLayer, ...]
    where: str
    """Name of the model, for errors."""

    def layer(self, *kinds: str) -> OllamaLayer | None:
        """The last layer with one of some kinds, as Ollama takes it."""
        return next((layer for layer in reversed(self.layers) if layer.kind in kinds), None)

    @property
    def dropped(self) -> tuple[str, ...]:
        """Descriptions of the parts of the model that are left out."""
        kinds = {layer.kind for layer in self.layers}
        if any(layer.name is not None and layer.name.startswith(_DRAFT_PREFIXES) for layer in self.layers):
            kinds.add("draft")
        return tuple(words for kind, words in _DROPPED.items() if kind in kinds)

    def files(self) -> Mapping[str, Blob]:
        """The layers that are used, by their path as files of a source.

        Raises:
            UnsupportedOllamaModel: it has an adapter, or several weight files, or none.
            BrokenOllamaManifest: a name is not a safe path, or is repeated.
        """
        counts = Counter(layer.kind for layer in self.layers)
        self._check_kinds(counts)
        files: dict[str, Blob] = {}
        for layer in self.layers:
            if (path := self._path(layer, files)) is not None:
                if path in files or unsafe(path):
                    raise self._broken(
                        f"it has the layer `{path!a}` twice" if path in files else f"{path!a} is not a path"
                    )
                files[path] = layer.blob
        if list(collisions(files)):
            raise self._broken("two layers are one file on systems that ignore case")
        return files

    def _check_kinds(self, counts: Counter[str]) -> None:
        if counts["adapter"]:
            raise UnsupportedOllamaModel(
                f"`{self.where}` has an adapter, which Ollama stores in a format that cannot be merged",
                where=self.where,
                hint="name the model that it was made for as base, and the adapter's safetensors below `adapters`",
            )
        if counts["model"] > 1 or bool(counts["model"]) == bool(counts["tensor"]):
            what = "no weights" if not counts["model"] and not counts["tensor"] else "several files of weights"
            hint = "models that run in Ollama's cloud have none" if what == "no weights" else "name another tag"
            raise UnsupportedOllamaModel(f"`{self.where}` has {what}", where=self.where, hint=hint)

    def _path(self, layer: OllamaLayer, files: Mapping[str, Blob]) -> str | None:
        if layer.kind in _SINGLE:
            return _SINGLE[layer.kind] if layer is self.layer(layer.kind) else None
        if layer.kind == "license":
            number = sum(path.startswith(LICENSE_FILE) for path in files)
            return f"{LICENSE_FILE}.{number}" if number else LICENSE_FILE
        if layer.kind in ("tensor", "json"):
            return self._named_path(layer)
        if layer.kind in _DROPPED or layer.kind in _LEFT:
            return None
        raise UnsupportedOllamaModel(
            f"`{self.where}` has a layer of the kind `{layer.kind[:60]}`, which is not known",
            where=self.where,
            hint="use the model from the Hub, or update mlxbuild",
        )

    def _named_path(self, layer: OllamaLayer) -> str | None:
        if not layer.name:
            raise self._broken(f"a layer of the kind `{layer.kind}` has no name")
        if layer.name.startswith(_DRAFT_PREFIXES):
            return None
        if layer.kind == "tensor":
            return f"model-{layer.name}.safetensors"  # the name that mlx-lm expects for weights
        if layer.name == "config.json":
            return CONFIGURATION_FILE
        return layer.name if any(matches(layer.name, pattern) for pattern in SIDE_FILES) else None

    def _broken(self, message: str) -> BrokenOllamaManifest:
        return BrokenOllamaManifest(f"the manifest of `{self.where}` is broken: {message}", where=self.where)


def read_manifest(data: bytes, where: str) -> OllamaManifest:
    """Parse a manifest.

    Args:
        data: Its bytes as the registry returns them.
        where: Name of the model that was requested.

    Raises:
        BrokenOllamaManifest: it is not a valid manifest.
        UnsupportedOllamaModel: it is not that of an Ollama model.
    """
    try:
        document = json.loads(data)
        written = document["layers"]
        if not isinstance(written, list) or len(written) > _MOST_LAYERS:
            raise ValueError("`layers` is not a list")
        layers = tuple(_layer(entry, where) for entry in written)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, InvalidDigest) as error:
        raise BrokenOllamaManifest(
            f"the manifest of `{where}` is broken: {type(error).__name__}: {str(error)[:200]}",
            where=where,
            hint="is this the name of a model in Ollama's registry, or in one of its kind?",
        ) from None
    return OllamaManifest(Digest.of_bytes(data), layers, where)


def _layer(entry: Mapping[str, Any], where: str) -> OllamaLayer:
    media_type, size_bytes, name = entry["mediaType"], entry["size"], entry.get("name")
    if not isinstance(media_type, str) or not media_type.startswith(_PREFIX):
        raise UnsupportedOllamaModel(
            f"`{where}` is not a model of Ollama: it has a layer `{str(media_type)[:80]}`",
            where=where,
            hint="artifacts of mlxbuild and images of other tools are named by `base: {from: ...}`",
        )
    if type(size_bytes) is not int or size_bytes < 0 or not (name is None or isinstance(name, str)):
        raise ValueError("a layer has no size")
    kind = media_type.removeprefix(_PREFIX)
    digest = Digest.parse(entry["digest"])
    if digest.algorithm != "sha256" or (kind not in ("model", "tensor") and size_bytes > _limit(kind)):
        raise ValueError(f"a layer of the kind `{kind[:40]}` has {size_bytes} bytes")
    return OllamaLayer(kind, Blob(digest, size_bytes), name)


def _limit(kind: str) -> int:
    """The largest allowed size of a layer that is read as a whole, or stored without being read."""
    return {"json": 1 << 28, "license": SMALL_BYTES, "params": SMALL_BYTES, "system": SMALL_BYTES}.get(kind, 1 << 50)
