"""Builds a model folder block by block with the real step, the way a graph does, and puts the blocks together."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.core.action import ActionRecord
from mlxbuild.toolchain.core.lock import LockedFile, LockedSource, LockedTensor
from mlxbuild.toolchain.core.step import StepContext
from mlxbuild.toolchain.spec.resolved import (
    FolderSource,
    PromptTemplate,
    Quantization,
    QuantizationScheme,
    ResolvedSpec,
)
from mlxbuild.toolchain.steps.block import BlockStep
from mlxbuild.toolchain.steps.convert import ConvertStep
from mlxbuild.toolchain.steps.quantize import QuantizeStep
from mlxbuild.toolchain.weights.configuration import final_configuration, shard_index
from mlxbuild.toolchain.weights.facts import BlockFacts
from mlxbuild.toolchain.weights.plan import BlockWork, WeightPlan, plan_weights
from mlxbuild.toolchain.weights.safetensors import read_file_header
from mlxbuild.toolchain.weights.writer import StoredTensor

NONE = Quantization("none", None)
INT4 = Quantization("int4", QuantizationScheme("affine", 4, 64))
INT8 = Quantization("int8", QuantizationScheme("affine", 8, 64))


def locked(folder: Path, role: str = "base") -> LockedSource:
    """A folder as a lock holds it."""
    files, tensors = [], []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        files.append(LockedFile(path.name, Blob(Digest.of_bytes(data), len(data))))
        if path.suffix == ".safetensors":
            tensors += [
                LockedTensor(row.name, row.dtype, row.shape, path.name, row.begin, row.size_bytes)
                for row in read_file_header(path)
            ]
    return LockedSource(role, "folder", folder.name, None, None, tuple(files), tuple(tensors))


def variant(folder: Path, quantization: Quantization = NONE, **fields: Any) -> ResolvedSpec:
    """A variant with defaults everywhere else."""
    defaults: dict[str, Any] = {
        "recipe": folder / "ModelSpec.yaml",
        "name": "tiny",
        "version": "1.0",
        "variant": quantization.label,
        "description": "",
        "license": None,
        "base": FolderSource(folder, "."),
        "dtype": None,
        "quantization": quantization,
        "tokenizer": None,
        "adapters": (),
        "prompt_template": PromptTemplate("inherit"),
        "system_prompt": None,
        "defaults": {},
        "messages": (),
        "gates": (),
        "annotations": {},
    }
    return ResolvedSpec(**defaults | fields)


@dataclass(frozen=True)
class Folders:
    """Source files of some locked folders."""

    paths: Mapping[Digest, Path]

    @classmethod
    def of(cls, *folders: Path) -> Folders:
        return cls({Digest.of_bytes(path.read_bytes()): path for folder in folders for path in folder.iterdir()})

    def locate(self, digest: Digest) -> Path:
        return self.paths[digest]


@dataclass
class BlockBuild:
    """One build of a model folder."""

    store: Store
    folder: Path
    spec: ResolvedSpec
    adapters: Sequence[Path] = ()
    threads: int = 1
    shard_limit_bytes: int = 2**30
    slice_bytes: int = 1 << 22
    checkpoint: Callable[[], None] = lambda: None
    progress: list[int] = field(default_factory=list)

    def run(self) -> Mapping[str, Mapping[str, Blob]]:
        """Run every block; label to outputs."""
        plan = self.plan()
        self.store.put(plan.table)
        files = Folders.of(self.folder, *self.adapters)
        if plan.configuration is not None:
            blob = self.store.put(plan.configuration)
            files = Folders({**files.paths, blob.digest: self.store.path(blob.digest)})
        with ThreadPoolExecutor(self.threads) as pool:
            results = list(pool.map(lambda work: self._run_block(work, files), plan.blocks))
        return {work.label: result for work, result in zip(plan.blocks, results, strict=True)}

    def plan(self) -> WeightPlan:
        """What is to be run."""
        adapters = [locked(path, f"adapter.{number}") for number, path in enumerate(self.adapters)]
        files = Folders.of(self.folder, *self.adapters)
        return plan_weights(
            self.spec, locked(self.folder), adapters, lambda file: files.locate(file.blob.digest).read_bytes()
        )

    def _run_block(self, work: BlockWork, files: Folders) -> Mapping[str, Blob]:
        kind = type("Step", ({"convert": ConvertStep, "quantize": QuantizeStep}[work.step],), {})
        kind.shard_limit_bytes = self.shard_limit_bytes
        kind.slice_bytes = self.slice_bytes
        step: BlockStep = kind()
        inputs = {name: str(digest) for name, digest in work.inputs.items()}
        record = ActionRecord(work.step, step.implementation, work.parameters, inputs)
        context = StepContext(self.store, files, self.progress.append, self.checkpoint)
        return step.run(record, context)

    def assemble(self, target: Path) -> Path:
        """Run, and lay the result out as a model folder."""
        outputs = list(self.run().values())
        target.mkdir(parents=True)
        facts = [BlockFacts.from_json(self.store.read(blobs["facts"].digest)) for blobs in outputs]
        shards: dict[str, Sequence[StoredTensor]] = {}
        count = sum(len(each.shards) for each in facts)
        for blobs, each in zip(outputs, facts, strict=True):
            for name in sorted(each.shards):
                file = f"model-{len(shards) + 1:05d}-of-{count:05d}.safetensors"
                shutil.copyfile(self.store.path(blobs[name].digest), target / file)
                shards[file] = each.shards[name]
        source = self.plan().configuration or (self.folder / "config.json").read_bytes()
        config = final_configuration(source, facts, self.spec.quantization, self.spec.dtype)
        (target / "config.json").write_bytes(config)
        index = shard_index(shards, sum(each.parameters for each in facts))
        (target / "model.safetensors.index.json").write_bytes(index)
        return target
