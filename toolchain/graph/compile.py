"""Compiles a locked recipe to its graph: one node per action, all known before any weights are downloaded.

The package `weights` decides which tensors form a block, and what a block's action needs; this file decides the order
of the actions and the contents of the artifact.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from mlxbuild.registry.core import canonical_json
from mlxbuild.registry.core.digest import Digest
from mlxbuild.runtime.mlx_lm.code import model_code, template_code, weights_code
from mlxbuild.runtime.model.architecture import is_encoder, module_name
from mlxbuild.runtime.model.facts import ModelFacts
from mlxbuild.runtime.model.files import ACCURACY_FILE, DEFAULTS_FILE, FACTS_FILE
from mlxbuild.toolchain.core.action import Node, OutputsOf
from mlxbuild.toolchain.core.lock import Lock, LockedFile, LockedSource
from mlxbuild.toolchain.graph.graph import Fetch, Graph, assemble
from mlxbuild.toolchain.lock.carried import carried
from mlxbuild.toolchain.lock.file import encode
from mlxbuild.toolchain.sources.catalogue import SourceCatalogue
from mlxbuild.toolchain.spec.canonical import canonical
from mlxbuild.toolchain.spec.resolved import Gate, ResolvedSpec
from mlxbuild.toolchain.steps.embedding_facts import EMBEDDING_FILES
from mlxbuild.toolchain.steps.pack import BLOCK_INPUT, LICENSE_INPUT
from mlxbuild.toolchain.steps.template import TEMPLATE_FILES
from mlxbuild.toolchain.steps.tokenizer import TOKENIZER_FILES
from mlxbuild.toolchain.weights.accuracy import accuracies_in, errors_in
from mlxbuild.toolchain.weights.plan import UnusableSource, WeightPlan, plan_weights


@dataclass(frozen=True, slots=True)
class LockedVariant:
    """A variant with the pinned sources that it uses."""

    spec: ResolvedSpec
    base: LockedSource
    tokenizer: LockedSource
    """The source of the tokenizer; the base, unless the recipe names another."""
    adapters: tuple[LockedSource, ...]
    catalogue: SourceCatalogue
    is_default: bool = True
    """Whether it is the recipe's first variant, which also gets the short tags."""
    is_carried: bool = False
    """Whether spec and sources come from an artifact, and must be stored again unchanged when it is rebuilt."""

    @property
    def sources(self) -> tuple[LockedSource, ...]:
        """All sources of the variant, each once."""
        return tuple(dict.fromkeys((self.base, self.tokenizer, *self.adapters)))


@dataclass(frozen=True, slots=True)
class VariantNodes:
    """The final nodes of a variant: the node that packs it and the nodes that run its gates."""

    spec: ResolvedSpec
    template: str
    """Label of the node that tests the chat template."""
    pack: str
    gates: tuple[str, ...]
    is_default: bool


def compile_graph(variants: Iterable[LockedVariant], *, gates: bool = True) -> tuple[Graph, tuple[VariantNodes, ...]]:
    """The graph of several variants, of one recipe or of many; work that they share is one node or has the same key.

    Without `gates` the graph ends with the packed artifacts.

    Raises:
        UnusableSource: a source has no config.json or no tokenizer.
        BrokenGraph: two recipes would build artifacts with the same name.
    """
    nodes: list[Node] = []
    fetches: dict[str, Fetch] = {}
    goals = []
    for variant in variants:
        compiler = _Compiler(variant, fetches, variant.spec.gates if gates else ())
        nodes += compiler.nodes()
        goals.append(compiler.goal())
    nodes += [_fetch_node(label, fetch) for label, fetch in fetches.items()]
    return assemble(nodes, fetches), tuple(goals)


def _fetch_node(label: str, fetch: Fetch) -> Node:
    blob = fetch.file.blob
    return Node(label, "fetch", {}, {}, expected={"file": blob}, work_bytes=blob.size_bytes)


def _defaults(variant: LockedVariant) -> Mapping[str, Any]:
    """Default request parameters of the artifact: those of the recipe, else those of the artifact it is built on."""
    spec, base = variant.spec, variant.base
    inherited: dict[str, Any] = {}
    file = base.file(DEFAULTS_FILE)
    if base.kind in ("artifact", "ollama") and file is not None:
        inherited = json.loads(variant.catalogue.fetch(base, file).read_bytes())
    own = spec.system_prompt is not None
    return {
        "system_prompt": spec.system_prompt if own else inherited.get("system_prompt"),
        "messages": [dict(message) for message in spec.messages] or inherited.get("messages", []),
        "parameters": {**inherited.get("parameters", {}), **spec.defaults},
    }


def _inherited_pooling(variant: LockedVariant) -> str | None:
    """The pooling of the artifact that a variant is built on, whose recipe may have overridden the model's files."""
    file = variant.base.file(FACTS_FILE)
    if variant.base.kind != "artifact" or file is None:
        return None
    embedding = ModelFacts.from_json(variant.catalogue.fetch(variant.base, file).read_bytes()).embedding
    return None if embedding is None else embedding.pooling


def _inherited_accuracy(variant: LockedVariant) -> Mapping[str, Any]:
    """The accuracies recorded in the artifact that a variant is built on, if its weights are kept unchanged."""
    file = variant.base.file(ACCURACY_FILE)
    if variant.base.kind != "artifact" or file is None or not variant.spec.quantization.keeps:
        return {}
    content = variant.catalogue.fetch(variant.base, file).read_bytes()
    errors = errors_in(content)
    return {"accuracy": accuracies_in(content), **({"errors": errors} if errors else {})}


@dataclass(frozen=True, slots=True)
class _Configuration:
    """A config.json as an input of nodes."""

    digest: Digest
    after: tuple[str, ...]
    literals: tuple[bytes, ...]


class _Compiler:
    """Compiles the nodes of one variant."""

    def __init__(self, variant: LockedVariant, fetches: dict[str, Fetch], gates: tuple[Gate, ...]) -> None:
        self._variant = variant
        self._spec = variant.spec
        self._prefix = f"{variant.spec.name}:{variant.spec.variant}"
        self._fetches = fetches
        self._gates = gates
        spec, self._carried = (
            (variant.spec, variant.sources) if variant.is_carried else carried(variant.spec, variant.sources)
        )
        self._canonical = canonical(spec)
        self._defaults = _defaults(variant)

    def nodes(self) -> Iterator[Node]:
        blocks = tuple(self._blocks())
        yield from blocks
        yield self._tokenizer()
        yield self._template()
        yield self._pack(blocks)
        for gate in self._gates:
            yield from self._gate(gate)

    def goal(self) -> VariantNodes:
        gates = tuple(self._label("gate", gate.name) for gate in self._gates)
        return VariantNodes(self._spec, self._label("template"), self._label("pack"), gates, self._variant.is_default)

    def _label(self, *parts: str) -> str:
        return "/".join((self._prefix, *parts))

    def _fetch(self, source: LockedSource, file: LockedFile) -> str:
        place = PurePosixPath(source.identity, file.path)
        label = f"fetch/{str(place).lstrip('/')}"
        known = self._fetches.get(label)
        if known is not None and known.file != file:
            label = f"{label}@{file.blob.digest.short}"
        elif known is not None and source.kind == "folder" and known.catalogue.folder != self._variant.catalogue.folder:
            label = f"{label}@{self._spec.name}"  # a folder with the same name in another recipe
        self._fetches.setdefault(label, Fetch(self._variant.catalogue, source, file))
        return label

    def _required(self, source: LockedSource, path: str) -> LockedFile:
        file = source.file(path)
        if file is None:
            raise UnusableSource(
                f"{source.kind} {source.identity} has no {path}",
                where=str(self._spec.recipe),
                hint="a base is a model in the Hugging Face layout: config.json, safetensors and a tokenizer",
            )
        return file

    def _blocks(self) -> Iterator[Node]:
        base, adapters, plan = self._variant.base, self._variant.adapters, self._plan
        fetches = {file.blob.digest: self._fetch(source, file) for source in (base, *adapters) for file in source.files}
        for work in plan.blocks:
            yield Node(
                label=self._label(work.step, work.label),
                step=work.step,
                parameters=work.parameters,
                inputs=work.inputs,
                after=tuple(fetches[digest] for digest in work.files),
                literals=(plan.table, *self._configuration.literals),
                code=self._weights_code,
                work_bytes=work.weight_bytes,
            )

    @cached_property
    def _plan(self) -> WeightPlan:
        base = self._variant.base
        return plan_weights(self._spec, base, self._variant.adapters, self._read)

    @cached_property
    def _weights_code(self) -> Mapping[str, str]:
        """What steps of blocks run of mlx-lm: all of it where its `convert` decides about mixed precision."""
        return {} if self._spec.quantization.recipe else self._code(weights_code)

    def _code(self, digest_of: Callable[[str], str]) -> Mapping[str, str]:
        """What nodes run of mlx-lm: nothing where the architecture is one of our own encoders."""
        config = self._config
        return {"mlx-lm": "" if is_encoder(config) else digest_of(module_name(config))}

    @cached_property
    def _config(self) -> Mapping[str, Any]:
        planned = self._plan.configuration
        content = self._read(self._required(self._variant.base, "config.json")) if planned is None else planned
        config: dict[str, Any] = json.loads(content)
        return config

    def _read(self, file: LockedFile) -> bytes:
        """The content of a small file of the base or of an adapter."""
        source = next(source for source in (self._variant.base, *self._variant.adapters) if file in source.files)
        return self._variant.catalogue.fetch(source, file).read_bytes()

    @cached_property
    def _configuration(self) -> _Configuration:
        """The config.json that all steps get: the base's own, or the one that the weight plan replaces it with."""
        planned = self._plan.configuration
        if planned is not None:
            return _Configuration(Digest.of_bytes(planned), (), (planned,))
        file = self._required(self._variant.base, "config.json")
        return _Configuration(file.blob.digest, (self._fetch(self._variant.base, file),), ())

    def _small_files(
        self, sources: Iterable[LockedSource], names: Iterable[str]
    ) -> tuple[dict[str, Digest | OutputsOf], tuple[str, ...]]:
        """The inputs and fetches for some file names; each is taken from the first source that has it."""
        inputs: dict[str, Digest | OutputsOf] = {}
        after = []
        for name in names:
            for source in sources:
                file = source.file(name)
                if file is not None:
                    inputs[name] = file.blob.digest
                    after.append(self._fetch(source, file))
                    break
        return inputs, tuple(after)

    def _tokenizer(self) -> Node:
        inputs, after = self._small_files((self._variant.tokenizer,), TOKENIZER_FILES)
        others, more = self._small_files((self._variant.base,), ("generation_config.json", *EMBEDDING_FILES))
        return Node(self._label("tokenizer"), "tokenizer", {}, inputs | others, after + more)

    def _template(self) -> Node:
        sources = (self._variant.tokenizer, self._variant.base)
        inputs, after = self._small_files(sources, TEMPLATE_FILES)
        inputs["config.json"] = self._configuration.digest
        after = (*after, *self._configuration.after)
        chosen = self._defaults["parameters"]
        defaults = {key: chosen[key] for key in ("stops", "context") if key in chosen}
        template = {"kind": self._spec.prompt_template.kind, "value": self._spec.prompt_template.value}
        parameters: dict[str, Any] = {"template": template, "defaults": defaults}
        if (pooling := self._spec.pooling or _inherited_pooling(self._variant)) is not None:
            parameters["pooling"] = pooling
        if self._plan.compute is not None:
            parameters["compute"] = self._plan.compute
        return Node(
            self._label("template"),
            "template",
            parameters,
            inputs,
            after,
            literals=self._configuration.literals,
            code={"mlx-lm": template_code()},
        )

    def _pack(self, blocks: tuple[Node, ...]) -> Node:
        spec, base = self._spec, self._variant.base
        recipe = canonical_json.encode(self._canonical)
        lock = encode(Lock(Digest.of_bytes(recipe), self._carried))
        licenses = {LICENSE_INPUT + name: text.encode() for name, text in spec.license_files}
        inputs: dict[str, Digest | OutputsOf] = {
            "config": self._configuration.digest,
            "tokenizer": OutputsOf(self._label("tokenizer")),
            "template": OutputsOf(self._label("template")),
            "spec": Digest.of_bytes(recipe),
            "lock": Digest.of_bytes(lock),
        }
        inherited = [file for file in base.files if file.path.startswith("LICENSE") and not licenses]
        inputs |= {LICENSE_INPUT + file.path: file.blob.digest for file in inherited}
        inputs |= {name: Digest.of_bytes(text) for name, text in licenses.items()}
        inputs |= {BLOCK_INPUT + node.label.rsplit("/", 1)[1]: OutputsOf(node.label) for node in blocks}
        return Node(
            self._label("pack"),
            "pack",
            self._description(),
            inputs,
            after=(*self._configuration.after, *(self._fetch(base, file) for file in inherited)),
            literals=(recipe, lock, *self._configuration.literals, *licenses.values()),
        )

    def _description(self) -> Mapping[str, Any]:
        spec, base = self._spec, self._carried[0]
        return {
            "name": spec.name,
            "version": spec.version,
            "title": spec.label,
            "description": spec.description,
            "licenses": [spec.license] if spec.license else [],
            "annotations": dict(spec.annotations),
            "source": {"kind": base.kind, "identity": base.identity, "pinned": base.pinned},
            "dtype": spec.dtype,
            "quantization": self._canonical["quantization"],
            "defaults": self._defaults,
            **_inherited_accuracy(self._variant),
        }

    def _gate(self, gate: Gate) -> Iterator[Node]:
        parameters = {"kind": gate.kind, "name": gate.name, "parameters": dict(gate.parameters)}
        inputs: dict[str, Digest | OutputsOf] = {"artifact": OutputsOf(self._label("pack"))}
        if "max_increase_vs_base" in gate.parameters:
            measure = self._measure(gate)
            inputs["base"] = OutputsOf(measure.label)
            yield measure
        code = self._code(model_code)
        yield Node(self._label("gate", gate.name), "gate", parameters, inputs, code=code)

    def _measure(self, gate: Gate) -> Node:
        base = self._variant.base
        if base.gguf is not None:
            raise UnusableSource(
                f"the test `{gate.name}` compares with the base, but a GGUF file cannot be loaded as it is",
                where=str(self._spec.recipe),
                hint="set `max` instead; `mlxbuild verify --against-source` compares the tensors themselves",
            )
        if self._configuration.literals:
            raise UnusableSource(
                f"the test `{gate.name}` compares with the base, which another tool has quantized: "
                "it cannot be loaded as it is",
                where=str(self._spec.recipe),
                hint="set `max` instead",
            )
        return Node(
            self._label("measure", gate.name),
            "measure",
            {"text": gate.parameters["text"]},
            {file.path: file.blob.digest for file in base.files},
            after=tuple(self._fetch(base, file) for file in base.files),
            code=self._code(model_code),
            work_bytes=sum(file.blob.size_bytes for file in base.files),
        )
