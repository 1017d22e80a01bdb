"""What an engine may take of the machine. Found out when the model is in memory, unless it is set."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mlxbuild.runtime.model.memory import available_bytes

_MOST_PREFIX_BYTES = 8 << 30
_SPARE_BYTES, _SPARE_BYTES_OF_GPU = 256 << 20, 1 << 30


@dataclass(frozen=True, slots=True)
class Limits:
    """None takes what suits the machine."""

    rows: int = 32
    """How many answers are computed at once, at most; others wait."""
    part_tokens: int | None = None
    """How much of a prompt is read at once while no answer is running."""
    cache_bytes: int | None = None
    """What keys and values of running answers may take together: by default half of the memory that is left."""
    prefix_bytes: int | None = None
    """What the prefix cache may take: by default an eighth of the memory that is left, up to 8 GiB. 0 keeps nothing."""
    spare_bytes: int | None = None
    """What MLX may keep of memory that it has done with, to use it again: by default 256 MiB on a CPU, else 1 GiB."""

    def resolved(self, most_bytes: int | None = None) -> Limits:
        """With a number for each None. Call it when the weights are in memory.

        `most_bytes` is what may be taken beside them, where that is less than the machine has left.
        """
        import mlx.core as mx

        on_cpu = mx.default_device() == mx.cpu
        spare = _SPARE_BYTES if on_cpu else _SPARE_BYTES_OF_GPU
        left = available_bytes() if on_cpu else _device_bytes()
        if most_bytes is not None:
            left = min(left, most_bytes)
        return replace(
            self,
            # A processor has no use for larger parts, and is free between them.
            part_tokens=(512 if on_cpu else 2048) if self.part_tokens is None else self.part_tokens,
            cache_bytes=left // 2 if self.cache_bytes is None else self.cache_bytes,
            prefix_bytes=min(left // 8, _MOST_PREFIX_BYTES) if self.prefix_bytes is None else self.prefix_bytes,
            spare_bytes=min(left // 16, spare) if self.spare_bytes is None else self.spare_bytes,
        )


def _device_bytes() -> int:
    """What a GPU has left: of its own memory, or on Apple silicon of what it may take of the machine's."""
    import mlx.core as mx

    told = mx.device_info()
    for name in ("max_recommended_working_set_size", "total_memory", "memory_size"):
        if name in told:
            return max(0, int(told[name]) - mx.get_active_memory())
    return available_bytes()
