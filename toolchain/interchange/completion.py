"""Makes artifacts of other tools runnable: adds the facts about a model to its files, in a new artifact."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxbuild.registry.artifact import media_types
from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core import canonical_json
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.store.errors import StoreReadOnly
from mlxbuild.registry.store.layout import Store
from mlxbuild.registry.store.origins import Origin, Origins
from mlxbuild.registry.trust.policy import admit
from mlxbuild.runtime.model.files import FACTS_FILE, TEMPLATE_FILE
from mlxbuild.toolchain.core.action import ActionRecord
from mlxbuild.toolchain.core.step import StepContext
from mlxbuild.toolchain.interchange.errors import NotRunnable
from mlxbuild.toolchain.steps.template import TEMPLATE_FILES, TemplateStep

CONFIG_FILE = "config.json"


def runnable(store: Store, reference: Reference, digest: Digest, *, tell: Callable[[str], None]) -> Digest:
    """The artifact to run for a name, if the trust policy admits it; `tell` gets the warnings of the policy.

    Raises:
        MlxbuildError: the errors of `admit` and `completed`.
    """
    admit(store, reference, digest, tell=tell)
    return completed(store, digest)


def completed(store: Store, digest: Digest) -> Digest:
    """A runnable artifact: this one if mlxbuild built it, else a new one with the same files and the facts added.

    The facts (stop tokens, think tags, chat template, ...) are found as in a build. It has no tag: garbage
    collection removes it, and the next call creates it again.

    Raises:
        NotRunnable: it has no config.json or no safetensors.
        TemplateBroken, TemplateEscapes, TemplateRefuses, TokenizerUnreadable, UnreadableConfiguration: its files
            cannot be used.
        BlobMissing, BlobCorrupt, InvalidManifest: it is incomplete.
        StoreReadOnly, DiskFull, StoreFailure: the facts cannot be stored.
    """
    artifact = Artifact.open(store, digest)
    if artifact.file(FACTS_FILE) is not None:
        return digest
    _require_files(artifact)
    outputs = _found_out(artifact)
    added = {FACTS_FILE: outputs["facts"]}
    if "chat_template" in outputs and artifact.file(TEMPLATE_FILE) is None:
        added[TEMPLATE_FILE] = outputs["chat_template"]
    made = _with_files(artifact, added).digest
    with suppress(StoreReadOnly):  # anyone who knows this digest has made it on this machine
        Origins(store.home).record({made: Origin(bases=(digest,))})
    return made


def _require_files(artifact: Artifact) -> None:
    if not any(file.path.endswith(".safetensors") and "/" not in file.path for file in artifact.files):
        what = "holds no safetensors at its top level"
    elif artifact.file(CONFIG_FILE) is None:
        what = f"has no {CONFIG_FILE} at its top level"
    else:
        return
    raise NotRunnable(f"the artifact {what}", where=str(artifact.digest), hint="it can be kept and moved, but not run")


@dataclass(frozen=True, slots=True)
class _Blobs:
    """The files of an artifact by digest, for steps."""

    store: Store

    def locate(self, digest: Digest) -> Path:
        return self.store.path(digest)


def _found_out(artifact: Artifact) -> dict[str, Blob]:
    """The outputs of the step `template` for the artifact's own files."""
    step = TemplateStep()
    inputs = {
        file.path: str(file.blob.digest) for file in artifact.files if file.path in (CONFIG_FILE, *TEMPLATE_FILES)
    }
    parameters = {"template": {"kind": "inherit", "value": ""}, "defaults": {}}
    record = ActionRecord(step.kind, step.implementation, parameters, inputs)
    context = StepContext(artifact.store, _Blobs(artifact.store), lambda size_bytes: None, lambda: None)
    return dict(step.run(record, context))


def _with_files(artifact: Artifact, added: dict[str, Blob]) -> Blob:
    manifest: dict[str, Any] = json.loads(artifact.store.read(artifact.digest))
    config: dict[str, Any] = json.loads(json.dumps(artifact.config))
    for path, blob in added.items():
        manifest["layers"].append(
            {
                "mediaType": media_types.WEIGHT_CONFIG,
                "digest": str(blob.digest),
                "size": blob.size_bytes,
                "annotations": {media_types.FILE_PATH: path, media_types.TITLE: path},
            }
        )
        config["modelfs"]["diffIds"].append(str(blob.digest))
    held = artifact.store.put(canonical_json.encode(config))
    manifest["config"] |= {"digest": str(held.digest), "size": held.size_bytes}
    manifest["annotations"] = {
        key: value for key, value in artifact.annotations.items() if key != media_types.SET_DIGEST
    }
    return artifact.store.put(canonical_json.encode(manifest))
