"""Where weight arithmetic runs: on the CPU device, whose bytes are the same on every machine, in any thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import mlx.core as mx

from mlxbuild.runtime.model.threads import leave_streams_in_order


@contextmanager
def cpu_device() -> Iterator[None]:
    """While inside, this thread's MLX operations run on the CPU. Other threads cannot evaluate arrays made here."""
    leave_streams_in_order()
    with mx.stream(mx.cpu):
        yield
