"""The step `pack`: combines blocks, tokenizer, template and recipe into a ModelPack manifest.

It reads no weights: shards are named, listed and referred to by digest. Only their headers are read, by mlx-lm, because
it cannot load everything that it can quantize.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from mlxbuild.registry.artifact.files import ArtifactFile, FileRole
from mlxbuild.registry.artifact.manifest import read
from mlxbuild.registry.artifact.modelpack import ArtifactDescription, Capabilities, build
from mlxbuild.registry.core import canonical_json
from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.suggestions import nearest
from mlxbuild.registry.store.layout import Store
from mlxbuild.runtime.model.files import ACCURACY_FILE
from mlxbuild.runtime.model.layout import require_usable
from mlxbuild.toolchain.core.action import ActionRecord, input_digest
from mlxbuild.toolchain.core.step import StepContext
from mlxbuild.toolchain.spec.resolved import Quantization
from mlxbuild.toolchain.steps.embedding_facts import lacks_head
from mlxbuild.toolchain.weights.accuracy import accuracy_document
from mlxbuild.toolchain.weights.configuration import final_configuration, shard_index
from mlxbuild.toolchain.weights.facts import BlockFacts, scheme_from_json
from mlxbuild.toolchain.weights.model import UnusableModel
from mlxbuild.toolchain.weights.overrides import IdleOverride

BLOCK_INPUT = "block."
LICENSE_INPUT = "license."


class PackStep:
    """Inputs: `config` (the source's config.json), `block.<label>`, `tokenizer`, `template`, `spec`, `lock`,
    `license.<file name>`. Outputs: `manifest`, its config, and every file by its path, except for weights.
    """

    kind = "pack"
    implementation = 1
    tools: tuple[str, ...] = ()

    def run(self, record: ActionRecord, context: StepContext) -> Mapping[str, Blob]:
        """See `Step.run`."""
        store = context.store
        blocks = {label: _facts(store, outputs) for label, outputs in _blocks(record)}
        shards = [(label, name) for label, facts in blocks.items() for name in sorted(facts.shards)]
        paths = {shard: f"model-{n:05d}-of-{len(shards):05d}.safetensors" for n, shard in enumerate(shards, 1)}
        parameters = sum(facts.parameters for facts in blocks.values())
        source_config = context.sources.locate(input_digest(record, "config")).read_bytes()
        config = final_configuration(
            source_config, tuple(blocks.values()), _quantization(record), record.parameters["dtype"]
        )
        _refuse_idle_overrides(record, blocks)
        model_facts = json.loads(store.read(input_digest(record, "template", "facts")))
        _refuse_a_lost_head(json.loads(config), model_facts, blocks)
        index = shard_index({path: blocks[label].shards[name] for (label, name), path in paths.items()}, parameters)

        def put(path: str, content: bytes) -> ArtifactFile:
            return ArtifactFile(path, FileRole.CONFIG, store.put(content))

        files = [
            *(
                _refer(store, path, FileRole.WEIGHT, record.inputs[BLOCK_INPUT + label][name])
                for (label, name), path in paths.items()
            ),
            *(_refer(store, path, FileRole.CONFIG, digest) for path, digest in _tokenizer_files(record)),
            put("config.json", config),
            put("model.safetensors.index.json", index),
            put("mlxbuild/defaults.json", canonical_json.encode(record.parameters["defaults"])),
            _refer(store, "mlxbuild/facts.json", FileRole.CONFIG, record.inputs["template"]["facts"]),
            _refer(store, "mlxbuild/ModelSpec.json", FileRole.DOC, record.inputs["spec"]),
            _refer(store, "mlxbuild/ModelSpec.lock", FileRole.DOC, record.inputs["lock"]),
            *(
                ArtifactFile(path, FileRole.DOC, store.put(context.sources.locate(digest).read_bytes()))
                for path, digest in _license_files(record)
            ),
        ]
        accuracies = dict(record.parameters.get("accuracy", {}))  # of an artifact whose weights are kept
        accuracies |= {name: kind for facts in blocks.values() for name, kind in facts.accuracy.items()}
        errors = dict(record.parameters.get("errors", {}))
        errors |= {name: error for facts in blocks.values() for name, error in facts.errors.items()}
        if accuracies:
            files.append(put(ACCURACY_FILE, accuracy_document(accuracies, errors)))
        _require_usable(store, files)
        description = _describe(record, json.loads(config), model_facts, parameters)
        manifest = build(store, description, files)
        # Files that only this step writes are outputs, so that a missing one is noticed and written again.
        small = {file.path: file.blob for file in files if file.role is not FileRole.WEIGHT}
        return {"manifest": manifest, "manifest-config": read(store, manifest.digest).config.blob, **small}


def _require_usable(store: Store, files: Sequence[ArtifactFile]) -> None:
    """Check that mlx-lm can load the artifact, reading only the headers of shards."""
    with tempfile.TemporaryDirectory() as folder:
        for file in files:
            if file.role is FileRole.WEIGHT or file.path == "config.json":
                (Path(folder) / file.path).symlink_to(store.path(file.blob.digest).absolute())
        require_usable(Path(folder))


def _blocks(record: ActionRecord) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Blocks in the order of the model: embeddings, layers, head."""
    labels = [name.removeprefix(BLOCK_INPUT) for name in record.inputs if name.startswith(BLOCK_INPUT)]
    order = {"embeddings": 0, "head": 2}
    for label in sorted(labels, key=lambda label: (order.get(label, 1), label)):
        yield label, record.inputs[BLOCK_INPUT + label]


def _facts(store: Store, outputs: Mapping[str, str]) -> BlockFacts:
    return BlockFacts.from_json(store.read(Digest.parse(outputs["facts"])))


def _quantization(record: ActionRecord) -> Quantization:
    chosen = record.parameters["quantization"]
    return Quantization(chosen["label"], scheme_from_json(chosen["scheme"]) if chosen["scheme"] else None)


def _refuse_a_lost_head(config: Mapping[str, Any], facts: Mapping[str, Any], blocks: Mapping[str, BlockFacts]) -> None:
    """Refuse to drop a head: a model without one can only embed."""
    if facts.get("embedding") is None and lacks_head(config) and "lm_head" not in _modules(blocks):
        raise UnusableModel(
            "the weights lack `lm_head.weight`, so the model cannot generate text",
            hint="if it is meant to embed, set the recipe's `pooling`",
        )


def _modules(blocks: Mapping[str, BlockFacts]) -> set[str]:
    tensors = (tensor.name for facts in blocks.values() for shard in facts.shards.values() for tensor in shard)
    return {name.rpartition(".")[0] for name in tensors}


def _refuse_idle_overrides(record: ActionRecord, blocks: Mapping[str, BlockFacts]) -> None:
    """Refuse overrides that match no module, which no single block can detect."""
    modules = _modules(blocks)
    for glob, _ in record.parameters["quantization"]["overrides"]:
        if not any(fnmatchcase(module, glob) for module in modules):
            near = nearest(glob, modules, most=1, close_enough=0.4)
            raise IdleOverride(
                f"the override `{glob}` matches no module",
                hint=f"modules are named like `{near[0] if near else min(modules)}`",
            )


def _tokenizer_files(record: ActionRecord) -> Iterator[tuple[str, str]]:
    yield from sorted(record.inputs["tokenizer"].items())
    template = record.inputs["template"].get("chat_template")
    if template is not None:
        yield "chat_template.jinja", template


def _license_files(record: ActionRecord) -> Iterator[tuple[str, Digest]]:
    for name in sorted(record.inputs):
        if name.startswith(LICENSE_INPUT):
            yield name.removeprefix(LICENSE_INPUT), input_digest(record, name)


def _refer(store: Store, path: str, role: FileRole, digest_text: str) -> ArtifactFile:
    digest = Digest.parse(digest_text)
    return ArtifactFile(path, role, Blob(digest, store.size(digest)))


def _base_name(source: Mapping[str, Any]) -> str | None:
    """The name of the base model, if others can find it by that name."""
    name = {"hub": f"hf.co/{source['identity']}", "ollama": source["identity"]}.get(source["kind"])
    return None if name is None else f"{name}@{source['pinned']}"


def _describe(
    record: ActionRecord, config: Mapping[str, Any], facts: Mapping[str, Any], parameters: int
) -> ArtifactDescription:
    chosen = record.parameters
    quantization = config.get("quantization")
    base = {key: quantization[key] for key in ("mode", "bits", "group_size")} if quantization else None
    source = chosen["source"]
    on_hub = source["kind"] == "hub"
    return ArtifactDescription(
        name=chosen["name"],
        version=chosen["version"],
        title=chosen["title"],
        spec_digest=input_digest(record, "spec"),
        lock_digest=input_digest(record, "lock"),
        description=chosen["description"],
        family=config.get("model_type"),
        architecture=next(iter(config.get("architectures") or ()), None),
        parameters=parameters,
        precision=config.get("torch_dtype") or config.get("dtype"),
        quantization=f"mlx-{base['mode']}-{base['bits']}bit-g{base['group_size']}" if base else None,
        quantization_parameters=base,
        licenses=tuple(chosen["licenses"]),
        source=f"https://huggingface.co/{source['identity']}" if on_hub else None,
        revision=source["pinned"] if on_hub else None,
        base_name=_base_name(source),
        capabilities=Capabilities(
            reasoning=facts.get("think_start") is not None, tool_usage=bool(facts.get("takes_tools"))
        ),
        annotations=chosen["annotations"],
    )
