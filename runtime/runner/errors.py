"""Errors of a runner as a whole; errors of single requests come from its model."""

from __future__ import annotations

from mlxbuild.registry.core.errors import EnvironmentFailure, InfrastructureError


class RunnerDied(EnvironmentFailure):
    """The process that held the model ended before it had answered the request."""

    code = "runner-died"


class RunnerStalled(EnvironmentFailure):
    """The process that held the model hung or made no more progress, and was killed."""

    code = "runner-stalled"


class ReaderTooSlow(InfrastructureError):
    """An answer was read so slowly that it was cancelled."""

    code = "reader-too-slow"
