"""What the families with mixture of experts share. llama.cpp stacks the experts of a layer, as mlx-lm does."""

from __future__ import annotations

from mlxbuild.toolchain.sources.gguf.families.family import GgufModel
from mlxbuild.toolchain.sources.gguf.header import UnsupportedGguf

_SOFTMAX = 1


def expert_count(model: GgufModel) -> int:
    """The number of experts in a layer; 0 if the file has none.

    Raises:
        UnsupportedGguf: the router uses another function than softmax.
    """
    metadata = model.metadata
    count = metadata.count(metadata.own("expert_count"), 0, least=0)
    key = metadata.own("expert_gating_func")
    if count and metadata.count(key, _SOFTMAX, least=0) not in (0, _SOFTMAX):
        raise UnsupportedGguf(
            f"`{key}` says that experts are not chosen by a softmax, as mlx-lm's code of this architecture does",
            where=metadata.where,
            hint="use another model; other experts give other answers",
        )
    return count


def experts_used(model: GgufModel) -> int:
    """The number of experts that each token is routed to."""
    key = model.metadata.own("expert_used_count")
    used = model.metadata.count(key)
    if used > expert_count(model):
        model.metadata.fail(f"`{key}` is {used}, but there are {expert_count(model)} experts")
    return used


def stacked_experts(module: str) -> dict[str, str]:
    """Names of a layer's router and experts in the file, to those in the model.

    Args:
        module: The model's name for the mixture: `mlp`, `block_sparse_moe`.
    """
    return {
        "ffn_gate_inp.weight": f"{module}.gate.weight",
        "ffn_gate_exps.weight": f"{module}.switch_mlp.gate_proj.weight",
        "ffn_up_exps.weight": f"{module}.switch_mlp.up_proj.weight",
        "ffn_down_exps.weight": f"{module}.switch_mlp.down_proj.weight",
    }


def expert_size(model: GgufModel, key: str, tensor: str) -> int:
    """The hidden size of an expert: from the metadata, or in older files without that key, from a tensor's shape."""
    metadata = model.metadata
    if metadata.has(metadata.own(key)):
        return metadata.count(metadata.own(key))
    shape = model.shapes.get(f"blk.0.{tensor}", ())
    if len(shape) < 2:
        metadata.fail(f"neither `{metadata.own(key)}` nor a tensor `blk.0.{tensor}` is there")
    return shape[-2]
