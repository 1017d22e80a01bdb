"""Runs weight arithmetic on the CPU device, whose results have the same bytes on every machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import mlx.core as mx

from mlxbuild.runtime.model.threads import leave_streams_in_order


@contextmanager
def cpu_device() -> Iterator[None]:
    """A context in which this thread's MLX operations run on the CPU. Other threads cannot evaluate its arrays."""
    leave_streams_in_order()
    with mx.stream(mx.cpu):
        yield
