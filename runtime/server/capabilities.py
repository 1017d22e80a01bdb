"""Refuses what a model cannot do, in the words that clients of every API know."""

from __future__ import annotations

from mlxbuild.runtime.server.failures import NotSupported
from mlxbuild.runtime.server.inference import AskedModel


def require(
    model: AskedModel, name: str, capability: str, *, called: str | None = None, where: str | None = None
) -> None:
    """Whether a model has a capability; `called` is what the request calls it, where that is another word.

    Raises:
        NotSupported: it has not; `where` is the field that asks for it.
    """
    if capability not in model.capabilities:
        raise NotSupported(f'"{name}" does not support {called or capability}', where=where)
