"""The errors of sources."""

from __future__ import annotations

from mlxbuild.registry.core.errors import EnvironmentFailure, InfrastructureError, TrustError, UserError


class RepositoryMissing(UserError):
    """The Hub has no such repository, or the token has no access to it."""

    code = "repository-missing"


class GatedRepository(UserError):
    """The repository requires its terms to be accepted first."""

    code = "repository-gated"


class AccessDenied(UserError):
    """The Hub rejects the token, or requires one."""

    code = "hub-access-denied"


class RevisionMissing(UserError):
    """The repository has no such branch, tag or commit."""

    code = "revision-missing"


class HubUnreachable(InfrastructureError):
    """The Hub cannot be reached, or returns server errors or invalid answers."""

    code = "hub-unreachable"


class HubTooSlow(HubUnreachable):
    """The Hub exceeded a time limit: for a connection, for an answer, or for the bytes of one."""

    code = "hub-too-slow"


class HubRateLimited(InfrastructureError):
    """The Hub asks for a longer wait than the limit."""

    code = "hub-rate-limited"


class Offline(InfrastructureError):
    """The network is switched off, and something that is needed is not on this machine."""

    code = "offline"


class HubCacheFailure(EnvironmentFailure):
    """The Hub client's cache folder cannot be used."""

    code = "hub-cache-failure"


class FileIndexFailure(EnvironmentFailure):
    """The index of verified files cannot be used."""

    code = "file-index-failure"


class SourceChanging(EnvironmentFailure):
    """A file was modified while it was being read."""

    code = "source-changing"


class SourceMissing(UserError):
    """A source, or one of its files, is missing."""

    code = "source-missing"


class SourceCorrupt(TrustError):
    """A file's bytes are not those that the lock pins."""

    code = "source-corrupt"


class PickledWeights(UserError):
    """A source has its weights only in a format that can run code when loaded."""

    code = "pickled-weights"


class CustomCode(UserError):
    """A source needs Python code of its own to load."""

    code = "custom-code"


class SourceIncomplete(UserError):
    """A source lacks a file that its role needs."""

    code = "source-incomplete"


class DuplicateTensor(UserError):
    """Two files of a source declare a tensor of the same name."""

    code = "duplicate-tensor"
