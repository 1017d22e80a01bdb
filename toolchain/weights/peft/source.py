"""Recognises and reads locked sources that are PEFT adapters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from mlxbuild.toolchain.core.lock import LockedFile, LockedSource
from mlxbuild.toolchain.weights.peft.configuration import SAVE_HINT, PeftConfiguration, UnsupportedAdapter
from mlxbuild.toolchain.weights.peft.mapping import PeftAdapter
from mlxbuild.toolchain.weights.peft.parts import parts_of
from mlxbuild.toolchain.weights.reading import SourceTensor

ADAPTER_WEIGHTS: Final = "adapters.safetensors"
PEFT_WEIGHTS: Final = "adapter_model.safetensors"
ADAPTER_CONFIGURATION: Final = "adapter_config.json"


def is_peft(paths: Iterable[str]) -> bool:
    """Whether a source with these files is a PEFT adapter: mlx-lm uses another name for the weights."""
    return PEFT_WEIGHTS in (names := set(paths)) and ADAPTER_WEIGHTS not in names


def read_adapter(source: LockedSource, factor: float, read: Callable[[LockedFile], bytes]) -> PeftAdapter:
    """Read a source for which `is_peft` is true.

    Args:
        source: The locked adapter.
        factor: The recipe's factor for its scale.
        read: Reads the adapter's configuration.

    Raises:
        UnsupportedAdapter: it cannot be merged.
    """
    configuration, weights = source.file(ADAPTER_CONFIGURATION), source.file(PEFT_WEIGHTS)
    if configuration is None or weights is None:
        raise UnsupportedAdapter(f"the adapter has no {ADAPTER_CONFIGURATION}", where=source.identity, hint=SAVE_HINT)
    meant = PeftConfiguration.read(read(configuration), f"{source.identity}/{ADAPTER_CONFIGURATION}")
    where = f"{source.identity}/{PEFT_WEIGHTS}"
    tensors = [
        SourceTensor(row.name, row.dtype, row.shape, weights.blob.digest, row.begin, row.size_bytes)
        for row in source.tensors
        if row.file == PEFT_WEIGHTS
    ]
    return PeftAdapter(meant, parts_of(meant, tensors, where), factor, where)
