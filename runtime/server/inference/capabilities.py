"""Refuses requests for capabilities that a model lacks."""

from __future__ import annotations

from mlxbuild.runtime.server.failures import NotSupported
from mlxbuild.runtime.server.inference.asked_model import AskedModel


def require(
    model: AskedModel, name: str, capability: str, *, called: str | None = None, where: str | None = None
) -> None:
    """Require that a model has a capability; `called` is the capability's name in the message, if another.

    Raises:
        NotSupported: the model lacks it; `where` is the field that asks for it.
    """
    if capability not in model.capabilities:
        raise NotSupported(f'"{name}" does not support {called or capability}', where=where)
