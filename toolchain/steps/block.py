"""The step for a block of weights: converts, fuses, quantizes and stores in one pass, slice by slice on the CPU."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import mlx.core as mx

from mlxbuild.registry.core.digest import Blob, Digest
from mlxbuild.registry.core.errors import StepError, TrustError
from mlxbuild.toolchain.core.action import ActionRecord
from mlxbuild.toolchain.core.step import StepContext
from mlxbuild.toolchain.spec.resolved import QuantizationScheme
from mlxbuild.toolchain.weights.adapters import LowRankUpdate, UnusableAdapter, adapter_scale, fused, updates_by_module
from mlxbuild.toolchain.weights.codes import broken_parameter, holds
from mlxbuild.toolchain.weights.computing import ComputedParameters
from mlxbuild.toolchain.weights.decoded import Accuracy, DecodedTensor, worst
from mlxbuild.toolchain.weights.device import cpu_device
from mlxbuild.toolchain.weights.encoding import Encoding, NotFinite, slices_of
from mlxbuild.toolchain.weights.facts import BlockFacts
from mlxbuild.toolchain.weights.formats.entry import scheme_of
from mlxbuild.toolchain.weights.model import UnusableModel, check_packing, is_quantized, is_ternary, read_configuration
from mlxbuild.toolchain.weights.origin import NotFiniteWeights, SourceTensors, too_large
from mlxbuild.toolchain.weights.peft.mapping import METHOD as LORA
from mlxbuild.toolchain.weights.precision import Precision
from mlxbuild.toolchain.weights.reading import SLICE_BYTES
from mlxbuild.toolchain.weights.request import BlockRequest
from mlxbuild.toolchain.weights.structure import Output, Structure, TableRow, structure_of
from mlxbuild.toolchain.weights.writer import SHARD_LIMIT_BYTES, Buffer, write_shards


class MixedBlocks(StepError):
    """The architecture computes a parameter from tensors of several blocks, so they cannot be built one by one."""

    code = "mixed-blocks"


class BlockStep:
    """Builds one block of a model's weights; `convert` and `quantize` are two names of this step."""

    kind: str
    implementation = 1
    tools: tuple[str, ...] = ("mlx", "mlx-lm")

    slice_bytes: ClassVar[int] = SLICE_BYTES
    shard_limit_bytes: ClassVar[int] = SHARD_LIMIT_BYTES

    def run(self, record: ActionRecord, context: StepContext) -> Mapping[str, Blob]:
        """Outputs: `shard-00`, `shard-01`, ... and `facts` (see `toolchain.weights.facts`).

        Raises:
            UnsupportedArchitecture: mlx-lm has no code for this model.
            UnusableModel: configuration, tensors and recipe do not fit together.
            NotFiniteWeights: a tensor has NaN or infinity; the message names tensor and file.
            MixedBlocks, UnusableAdapter, UnsuitableRecipe, SourceChanged: as documented there.
        """
        with cpu_device():
            return self._run(BlockRequest.of(record), context)

    def _run(self, request: BlockRequest, context: StepContext) -> Mapping[str, Blob]:
        progress = _Progress(context, request.size_bytes)
        with SourceTensors(context.sources.locate, self.slice_bytes, progress.took) as sources:
            work = _BlockWork.prepare(request, context, sources)
            stored = [tensor for part in work.parts for tensor in part.encoding.tensors()]
            buffers = work.buffers(self.slice_bytes, context)
            shards = write_shards(context.store, stored, buffers, limit_bytes=self.shard_limit_bytes)
        outputs = {f"shard-{number:02d}": shard for number, shard in enumerate(shards)}
        facts = BlockFacts(
            {name: shard.tensors for name, shard in outputs.items()},
            work.quantized(),
            work.parameters,
            work.accuracy(),
            sources.errors,
        )
        progress.finish()
        return {
            **{name: shard.blob for name, shard in outputs.items()},
            "facts": context.store.put(facts.to_json(), durable=False),
        }


@dataclass(frozen=True, slots=True)
class _Part:
    """One parameter and its encoding."""

    output: Output
    encoding: Encoding
    updates: tuple[LowRankUpdate, ...]
    broken: frozenset[int]
    """Byte values that must not occur in it, if it is stored as 8-bit numbers."""


@dataclass(frozen=True, slots=True)
class _BlockWork:
    """A block after all decisions were made, but before any weights are read."""

    request: BlockRequest
    sources: SourceTensors
    structure: Structure
    parts: tuple[_Part, ...]
    computed: ComputedParameters | None
    parameters: int
    computes: mx.Dtype
    """The dtype that MLX will compute in, as far as configuration and recipe determine it."""

    @classmethod
    def prepare(cls, request: BlockRequest, context: StepContext, sources: SourceTensors) -> _BlockWork:
        config = read_configuration(_read_verified(sources, request.configuration))
        check_packing(config)
        if is_quantized(config) and (request.quantizes or request.adapters):
            raise UnusableModel(
                "the weights are already quantized; quantizing or fusing again would round them twice",
                where="config.json",
                hint="give the unquantized model; what another tool has quantized, `quantization: bf16` decodes first"
                if request.adapters
                else "give the unquantized model, or set `quantization: keep`",
            )
        rows = json.loads(context.store.read(request.table))
        table: list[TableRow] = [(name, dtype, tuple(shape)) for name, dtype, shape in rows]
        identity = (request.configuration, request.table)
        structure = structure_of(config, table, identity, whole=len(table) == len(request.tensors))
        outputs = _outputs_of(request, structure, table)
        updates = _adapter_updates(request, sources, structure, outputs)
        computes = _computes(request, config)
        parts = tuple(_parts(request, structure, outputs, updates, computes))
        names = [part.output.name for part in parts if part.output.source is None]
        computed = None
        if names:
            computed = ComputedParameters(config, table, request.tensors, sources, names)
        _check_merged(request, outputs, computed)
        return cls(request, sources, structure, parts, computed, _parameter_count(config, outputs), computes)

    def quantized(self) -> Mapping[str, QuantizationScheme]:
        """Module path to quantization scheme."""
        return {
            part.output.name.removesuffix(".weight"): part.encoding.scheme
            for part in self.parts
            if part.encoding.scheme is not None
        }

    def accuracy(self) -> Mapping[str, Accuracy]:
        """Parameter name to accuracy, for decoded parameters; valid only after all have been read."""
        found: dict[str, Accuracy] = {}
        for part in self.parts:
            accuracy = self._accuracy(part)
            if accuracy is not None:
                module, _, leaf = part.output.name.rpartition(".")
                weight = f"{module}.weight"
                name = weight if leaf in ("scales", "biases") else part.output.name
                found[name] = worst((found.get(name, accuracy), accuracy))
        return found

    def _accuracy(self, part: _Part) -> Accuracy | None:
        name = part.output.source
        if name is not None:
            accuracy = self.sources.accuracy(name)
        else:
            assert self.computed is not None
            accuracy = self.computed.accuracy(part.output.name)
        if accuracy is None or part.encoding.scheme is not None or part.updates:
            return None if accuracy is None else "rounded"
        narrows = part.encoding.dtype != part.output.dtype and part.encoding.dtype != mx.float32
        return worst((accuracy, "near")) if narrows else accuracy

    def buffers(self, slice_bytes: int, context: StepContext) -> Iterator[Buffer]:
        """The bytes of all parts, in order."""
        for part in self.parts:
            context.checkpoint()
            try:
                for buffer in self._part_buffers(part, slice_bytes):
                    if part.broken and holds(bytes(buffer), part.broken):
                        raise NotFinite(overflowed=False)
                    yield buffer
            except NotFinite as error:
                raise self._not_finite(part, error) from None

    def _part_buffers(self, part: _Part, slice_bytes: int) -> Iterator[Buffer]:
        output, encoding = part.output, part.encoding
        source = None if output.source is None else self.request.tensors[output.source]
        if source is not None and not part.updates:
            if encoding.scheme is None and encoding.dtype == output.dtype:
                return self.sources.pieces(source)
            kernel = encoding.kernel if encoding.dtype == output.dtype else None
            if kernel is not None:
                return encoding.buffers_by(kernel, self.sources.raw(source))
            return encoding.buffers(lambda: self.sources.rows(source))
        if source is not None:
            array = self.sources.whole(source)
        else:
            assert self.computed is not None
            array = self.computed.take(output.name)
        if part.updates:
            path = output.name.removesuffix(".weight")
            array = fused(array.astype(encoding.dtype), self.structure.modules[path], path, part.updates)
            mx.eval(array)
        return encoding.buffers(lambda: slices_of(array, slice_bytes))

    def _not_finite(self, part: _Part, error: NotFinite) -> StepError:
        if error.overflowed:
            return too_large(part.output.name, part.encoding.dtype)
        source = part.output.source
        culprits = self.request.tensors if source is None else {source: self.request.tensors[source]}
        if part.broken:
            return (
                self.sources.first_broken(culprits, part.broken, part.output.name, self.computes)
                or self.sources.first_not_finite(culprits)
                or too_large(part.output.name, self.computes)
            )
        return self.sources.first_not_finite(culprits) or NotFiniteWeights(
            f"computing `{part.output.name}` gave NaN or infinity",
            hint="is the adapter sound, and made for this base model?" if part.updates else None,
        )


class _Progress:
    """Reports source bytes: slices as they are read, and at the end those that are dropped or computed with."""

    def __init__(self, context: StepContext, total_bytes: int) -> None:
        self._context = context
        self._missing = total_bytes

    def took(self, size_bytes: int) -> None:
        self._context.checkpoint()
        reported = min(size_bytes, self._missing)
        self._missing -= reported
        self._context.progress(reported)

    def finish(self) -> None:
        self._context.progress(self._missing)


def _outputs_of(request: BlockRequest, structure: Structure, table: list[TableRow]) -> tuple[Output, ...]:
    label = structure.labels[next(iter(request.tensors))]
    expected = {name: (dtype, shape) for name, dtype, shape in table if structure.labels[name] == label}
    if expected != {name: (tensor.dtype, tensor.shape) for name, tensor in request.tensors.items()}:
        raise StepError(f"the action's tensors are not those of block {label}", hint="this is a bug")
    outputs = structure.outputs[label]
    for output in outputs:
        if len(output.blocks) > 1:
            raise MixedBlocks(
                f"mlx-lm computes `{output.name}` from tensors of the blocks {', '.join(sorted(output.blocks))}",
                hint="this architecture cannot be built block by block",
            )
    return outputs


def _parts(
    request: BlockRequest,
    structure: Structure,
    outputs: tuple[Output, ...],
    updates: Mapping[str, tuple[LowRankUpdate, ...]],
    computes: mx.Dtype,
) -> Iterator[_Part]:
    model = structure.model
    may_cast = getattr(model, "cast_predicate", None) or (lambda _: True)
    precision = Precision.of(model, request.scheme, request.recipe, request.overrides) if request.quantizes else None
    wanted = None if request.dtype is None else getattr(mx, request.dtype)
    shapes = {output.name: output.shape for output in outputs}
    dtypes = {output.name: output.dtype for output in outputs}
    for output in outputs:
        dtype = output.dtype
        if wanted is not None and mx.issubdtype(dtype, mx.floating) and may_cast(output.name):
            dtype = wanted
        path, _, leaf = output.name.rpartition(".")
        module = structure.modules.get(path)
        scheme: QuantizationScheme | None = None
        if precision is not None and leaf == "weight" and module is not None:
            scheme = precision.of_module(path, module, output.shape[-1])
        encoding = Encoding(output.name, output.shape, dtype, scheme)
        broken = broken_parameter(output.name, shapes, dtypes, computes)
        yield _Part(output, encoding, updates.get(output.name, ()), broken)


def _computes(request: BlockRequest, config: Mapping[str, Any]) -> mx.Dtype:
    text = config.get("text_config")
    nested = text.get("dtype") if isinstance(text, dict) else None
    named = request.dtype or config.get("dtype") or config.get("torch_dtype") or nested
    return {"float16": mx.float16, "float32": mx.float32}.get(str(named), mx.bfloat16)


def _adapter_updates(
    request: BlockRequest, sources: SourceTensors, structure: Structure, outputs: tuple[Output, ...]
) -> Mapping[str, tuple[LowRankUpdate, ...]]:
    """Parameter name to the updates of the adapters, in their order."""
    names = {output.name for output in outputs}
    updates: dict[str, tuple[LowRankUpdate, ...]] = {}
    for adapter in request.adapters:
        where = str(sources.path(next(iter(adapter.tensors.values())).file))
        scale = adapter_scale(_read_verified(sources, adapter.configuration), adapter.factor, where)
        arrays = {name: sources.whole(tensor) for name, tensor in adapter.tensors.items()}
        for path, update in updates_by_module(arrays, scale, where).items():
            name = f"{path}.weight"
            if name not in names or path not in structure.modules:
                raise UnusableAdapter(
                    f"the model has no module `{path}` to add the adapter to",
                    where=where,
                    hint="is the adapter made for this base model?",
                )
            updates[name] = (*updates.get(name, ()), update)
    return updates


def _check_merged(request: BlockRequest, outputs: tuple[Output, ...], computed: ComputedParameters | None) -> None:
    """Refuse an adapter whose update would be lost."""
    used = {output.source for output in outputs} | (frozenset() if computed is None else computed.decoded)
    for name, tensor in request.tensors.items():
        if isinstance(tensor, DecodedTensor) and tensor.method == LORA and name not in used:
            raise UnusableAdapter(
                f"an adapter changes `{name}`, which mlx-lm's architecture leaves out",
                hint="is the adapter made for this base model?",
            )


def _parameter_count(config: Mapping[str, Any], outputs: tuple[Output, ...]) -> int:
    """The number of parameters as in `mlx_lm.utils.get_total_parameters`: packed weights count as unpacked."""
    names = {output.name for output in outputs}
    quantization = config.get("quantization") or {}
    count = 0
    for output in outputs:
        path, _, leaf = output.name.rpartition(".")
        size = math.prod(output.shape)
        if is_quantized(config) and f"{path}.scales" in names:
            if leaf == "weight":
                scheme = scheme_of(quantization, path)
                count += size if scheme is None else size * 32 // scheme.bits
            elif leaf == "bias":
                count += size
        elif leaf == "weight" and f"{path}.weight_scale" in names and is_ternary(config):
            count += size * 4
        else:
            count += size
    return count


def _read_verified(sources: SourceTensors, digest: Digest) -> bytes:
    path = sources.path(digest)
    data = path.read_bytes()
    if Digest.of_bytes(data) != digest:
        raise TrustError(f"{path.name} is not what the lock says", where=str(path), hint="run `mlxbuild lock` again")
    return data
