"""Errors of requests that get no model; errors of the model itself come from the runner."""

from __future__ import annotations

from mlxbuild.registry.core.errors import EnvironmentFailure, InfrastructureError, UserError


class ServerBusy(InfrastructureError):
    """Too many requests wait for models to load, or too many pulls, pushes and builds are running."""

    code = "server-busy"


class ModelTooLarge(EnvironmentFailure):
    """A model needs more memory than all models together may use."""

    code = "model-too-large"


class NoRoom(EnvironmentFailure):
    """Models that may not be unloaded take the memory or the places that another one needs."""

    code = "no-room"


class ModelKeepsDying(EnvironmentFailure):
    """A model's process ended several times in a row before it had answered anything; it is not loaded for a while."""

    code = "model-keeps-dying"
    retry_seconds = 0.0
    """Seconds until the model is tried again."""


class DraftMissing(UserError):
    """The draft model that the server's settings name for a model is not in the store."""

    code = "draft-missing"


class ServerStopping(InfrastructureError):
    """The server is stopping, and accepts no more requests."""

    code = "server-stopping"
