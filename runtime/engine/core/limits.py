"""Resource limits of an engine. Those that are not set are derived from the machine when the model is in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mlxbuild.runtime.model.memory import available_bytes

_MOST_PREFIX_BYTES = 8 << 30
_SPARE_BYTES, _SPARE_BYTES_OF_GPU = 256 << 20, 1 << 30


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one engine. None derives the value from the machine."""

    max_sequences: int = 32
    """How many sequences are computed at once, at most; other requests wait."""
    prefill_chunk_tokens: int | None = None
    """How many tokens of a prompt are prefilled at once while no answer is being decoded."""
    cache_bytes: int | None = None
    """Memory for the KV caches of running sequences: by default half of what is left."""
    prefix_bytes: int | None = None
    """Memory for the prefix cache: by default an eighth of what is left, up to 8 GiB. 0 turns it off."""
    spare_bytes: int | None = None
    """Freed memory that MLX may keep for reuse: by default 256 MiB on a CPU, 1 GiB on a GPU."""

    def resolved(self, most_bytes: int | None = None) -> Limits:
        """The limits with a number for each None. To be called when the weights are in memory.

        `most_bytes` is what may be taken beside the weights, if that is less than what the machine has left.
        """
        import mlx.core as mx

        on_cpu = mx.default_device() == mx.cpu
        spare = _SPARE_BYTES if on_cpu else _SPARE_BYTES_OF_GPU
        left = available_bytes() if on_cpu else _device_bytes()
        if most_bytes is not None:
            left = min(left, most_bytes)
        return replace(
            self,
            # A CPU gains nothing from larger chunks, and is free between them.
            prefill_chunk_tokens=(512 if on_cpu else 2048)
            if self.prefill_chunk_tokens is None
            else self.prefill_chunk_tokens,
            cache_bytes=left // 2 if self.cache_bytes is None else self.cache_bytes,
            prefix_bytes=min(left // 8, _MOST_PREFIX_BYTES) if self.prefix_bytes is None else self.prefix_bytes,
            spare_bytes=min(left // 16, spare) if self.spare_bytes is None else self.spare_bytes,
        )


def _device_bytes() -> int:
    """Memory that is left on a GPU; on Apple silicon, of the share of the machine's memory that it may use."""
    import mlx.core as mx

    told = mx.device_info()
    for name in ("max_recommended_working_set_size", "total_memory", "memory_size"):
        if name in told:
            return max(0, int(told[name]) - mx.get_active_memory())
    return available_bytes()
