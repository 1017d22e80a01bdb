"""Unpacks integers from 32-bit words, starting at the lowest bit."""

from __future__ import annotations

import mlx.core as mx


def unpacked(words: mx.array, bits: int) -> mx.array:
    """The numbers of each row, of shape (rows, words x 32 / bits), as uint32; `bits` need not divide 32.

    Args:
        words: uint32, (rows, words).
        bits: Bits per number.
    """
    rows, count = words.shape
    if 32 % bits == 0:
        shifts = mx.arange(32 // bits, dtype=mx.uint32) * bits
        return ((words[..., None] >> shifts) & ((1 << bits) - 1)).reshape(rows, -1)
    stream = ((words[..., None] >> mx.arange(32, dtype=mx.uint32)) & 1).reshape(rows, -1)
    numbers = stream[:, : count * 32 // bits * bits].reshape(rows, -1, bits)
    return (numbers << mx.arange(bits, dtype=mx.uint32)).sum(axis=-1).astype(mx.uint32)
