"""What can go wrong with a runner as a whole. Errors of single requests come from the model that it holds."""

from __future__ import annotations

from mlxbuild.registry.core.errors import EnvironmentFailure, InfrastructureError


class RunnerDied(EnvironmentFailure):
    """The process that held the model ended, with the request unanswered."""

    code = "runner-died"


class RunnerStalled(EnvironmentFailure):
    """The process that held the model showed no life, or did not get on any more, and was ended."""

    code = "runner-stalled"


class ReaderTooSlow(InfrastructureError):
    """An answer was not read for so long that it was given up."""

    code = "reader-too-slow"
