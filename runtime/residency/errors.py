"""Why a request gets no model. Errors of the model itself come from the runner."""

from __future__ import annotations

from mlxbuild.registry.core.errors import EnvironmentFailure, InfrastructureError, UserError


class ServerBusy(InfrastructureError):
    """Too many requests wait for models to be loaded, or too much is being pulled, pushed and built."""

    code = "server-busy"


class ModelTooLarge(EnvironmentFailure):
    """A model needs more memory than all models together may take."""

    code = "model-too-large"


class NoRoom(EnvironmentFailure):
    """Every place for a model is taken by one that is pinned."""

    code = "no-room"


class ModelKeepsDying(EnvironmentFailure):
    """A model's process ended some times in a row before it had answered anything; it is not loaded for a while."""

    code = "model-keeps-dying"
    retry_seconds = 0.0
    """After which it is tried again."""


class DraftMissing(UserError):
    """The store does not hold a model that drafts for another, by the server's settings."""

    code = "draft-missing"


class ServerStopping(InfrastructureError):
    """The server is being stopped, and takes no more requests."""

    code = "server-stopping"
