"""What can go wrong between here and a registry. Queries of addresses are never told: they may hold secrets."""

from __future__ import annotations

from mlxbuild.registry.core.errors import InfrastructureError, Kind, TrustError, UserError


class InvalidSettings(UserError):
    """The configuration of registries cannot be used."""

    code = "invalid-settings"


class NoRegistry(UserError):
    """A name has no host, and no default registry is configured."""

    code = "no-registry"


class RegistryFailure(InfrastructureError):
    """A registry gave an answer that cannot be worked with.

    `status` is the HTTP status, `registry_code` the registry's own code and `retry_after` the pause in seconds that
    it asked for, where there are such; `passing` tells that the same request may succeed later.
    """

    code = "registry-failure"

    def __init__(
        self,
        message: str,
        *,
        where: str | None = None,
        hint: str | None = None,
        status: int | None = None,
        registry_code: str | None = None,
        retry_after: float | None = None,
        passing: bool = False,
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.status = status
        self.registry_code = registry_code
        self.retry_after = retry_after
        self.passing = passing


class RegistryUnreachable(RegistryFailure):
    """No answer came: the name, the connection, its encryption or the time limit."""

    code = "registry-unreachable"


class RegistryTooSlow(RegistryUnreachable):
    """A time limit was passed: for a connection, for an answer, or for the bytes of one that comes or is sent."""

    code = "registry-too-slow"


class RegistryRefused(RegistryFailure):
    """The registry does not let this user do that (401 or 403)."""

    code = "registry-refused"


class RealmNotAllowed(RegistryRefused):
    """A registry wants its password sent to a host that is not its own, and that nobody has allowed.

    `realm` is that host.
    """

    code = "realm-not-allowed"

    def __init__(self, message: str, *, realm: str, where: str, hint: str) -> None:
        super().__init__(message, where=where, hint=hint, status=401)
        self.realm = realm


class RegistryBusy(RegistryFailure):
    """The registry asked for patience (429 or 5xx) for longer than was waited."""

    code = "registry-busy"


class RepositoryUnknown(RegistryFailure):
    """The registry has no such repository."""

    code = "repository-unknown"
    kind = Kind.USER  # the registry is well: it is asked for what it does not have
    exit_code = UserError.exit_code


class ManifestUnknown(RegistryFailure):
    """The repository has no such tag or manifest."""

    code = "manifest-unknown"
    kind = Kind.USER
    exit_code = UserError.exit_code


class RemoteBlobUnknown(RegistryFailure):
    """The repository does not hold a blob that a manifest names."""

    code = "remote-blob-unknown"


class ManifestTooLarge(TrustError):
    """A manifest has more bytes than any sound one."""

    code = "manifest-too-large"


class TransferCorrupt(TrustError):
    """What a registry sent is not what its digest and size say."""

    code = "transfer-corrupt"


class CredentialsFailure(UserError):
    """Stored credentials cannot be read or written."""

    code = "credentials-failure"
