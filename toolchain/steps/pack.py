"""The step `pack`: blocks, tokenizer, template and the recipe itself become one ModelPack manifest.

No weight byte is read here: shards are named, listed and referred to by digest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from registry import canonical_json
from registry.artifact.files import ArtifactFile, FileRole
from registry.artifact.modelpack import ArtifactDescription, Capabilities, build
from registry.digest import Blob, Digest
from registry.store.layout import Store
from toolchain.graph.action import ActionRecord, input_digest
from toolchain.steps.port import StepContext
from toolchain.weights.configuration import model_config, weight_index

BLOCK_INPUT = "block."
LICENSE_INPUT = "license."


class PackStep:
    """Inputs: `config` (the source's config.json), `block.<label>`, `tokenizer`, `template`, `spec`, `lock`,
    `license.<file name>`. Output: `manifest`.
    """

    kind = "pack"
    implementation = 1
    tools: tuple[str, ...] = ()

    def run(self, record: ActionRecord, context: StepContext) -> Mapping[str, Blob]:
        """See `Step.run`."""
        store = context.store
        shards = list(_shards(record, store))
        names = {
            name: f"model-{n:05d}-of-{len(shards):05d}.safetensors" for n, (name, _, _) in enumerate(shards, 1)
        }
        facts = [_read_json(store, outputs["facts"]) for _, outputs in _blocks(record)]
        model_facts = _read_json(store, record.inputs["template"]["facts"])

        def put(path: str, role: FileRole, content: bytes) -> ArtifactFile:
            return ArtifactFile(path, role, store.put(content))

        source_config = context.sources.locate(input_digest(record, "config")).read_bytes()
        config = model_config(source_config, facts, record.parameters["quantization"])
        tensors = {names[name]: rows for name, rows, _ in shards}
        parameters = sum(fact["parameters"] for fact in facts)
        files = [
            *(ArtifactFile(names[name], FileRole.WEIGHT, blob) for name, _, blob in shards),
            *(_refer(store, path, FileRole.CONFIG, digest) for path, digest in _tokenizer_files(record)),
            put("config.json", FileRole.CONFIG, config),
            put("model.safetensors.index.json", FileRole.CONFIG, weight_index(tensors, parameters)),
            put("mlxbuild/defaults.json", FileRole.CONFIG, canonical_json.encode(record.parameters["defaults"])),
            _refer(store, "mlxbuild/facts.json", FileRole.CONFIG, record.inputs["template"]["facts"]),
            _refer(store, "mlxbuild/ModelSpec.json", FileRole.DOC, record.inputs["spec"]),
            _refer(store, "mlxbuild/ModelSpec.lock", FileRole.DOC, record.inputs["lock"]),
            *(_refer(store, path, FileRole.DOC, digest) for path, digest in _license_files(record)),
        ]
        description = _describe(record, json.loads(config), model_facts, parameters)
        return {"manifest": build(store, description, files)}


def _blocks(record: ActionRecord) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Blocks in the order of the model: embeddings, layers, head."""
    labels = [name.removeprefix(BLOCK_INPUT) for name in record.inputs if name.startswith(BLOCK_INPUT)]
    order = {"embeddings": 0, "head": 2}
    for label in sorted(labels, key=lambda label: (order.get(label, 1), label)):
        yield label, record.inputs[BLOCK_INPUT + label]


def _shards(record: ActionRecord, store: Store) -> Iterator[tuple[str, Mapping[str, Any], Blob]]:
    """(name within the build, tensor rows, blob) of every shard that holds tensors."""
    for label, outputs in _blocks(record):
        facts = _read_json(store, outputs["facts"])
        for shard, rows in sorted(facts["shards"].items()):
            digest = Digest.parse(outputs[shard])
            yield f"{label}/{shard}", rows, Blob(digest, store.size(digest))


def _tokenizer_files(record: ActionRecord) -> Iterator[tuple[str, str]]:
    yield from sorted(record.inputs["tokenizer"].items())
    template = record.inputs["template"].get("chat_template")
    if template is not None:
        yield "chat_template.jinja", template


def _license_files(record: ActionRecord) -> Iterator[tuple[str, str]]:
    for name, digest in sorted(record.inputs.items()):
        if name.startswith(LICENSE_INPUT):
            yield name.removeprefix(LICENSE_INPUT), digest


def _refer(store: Store, path: str, role: FileRole, digest_text: str) -> ArtifactFile:
    digest = Digest.parse(digest_text)
    return ArtifactFile(path, role, Blob(digest, store.size(digest)))


def _read_json(store: Store, digest: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(store.read(Digest.parse(digest)))
    return value


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
        base_name=f"hf.co/{source['identity']}@{source['pinned']}" if on_hub else None,
        capabilities=Capabilities(
            reasoning=facts.get("think_start") is not None, tool_usage=facts.get("tool_parser") is not None
        ),
        annotations=chosen["annotations"],
    )
