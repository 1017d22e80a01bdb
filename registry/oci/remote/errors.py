"""The errors of registries. They never contain the queries of URLs, which may hold secrets."""

from __future__ import annotations

from mlxbuild.registry.core.errors import InfrastructureError, Kind, TrustError, UserError


class InvalidSettings(UserError):
    """The configuration is invalid."""

    code = "invalid-settings"


class NoRegistry(UserError):
    """A name has no host, and no default registry is configured."""

    code = "no-registry"


class RegistryFailure(InfrastructureError):
    """A registry returned an error or an invalid response.

    `status` is the HTTP status, `registry_code` the registry's own code and `retry_after` the pause in seconds that
    it asked for, where present; `retryable` tells that a retry may succeed.
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
        retryable: bool = False,
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.status = status
        self.registry_code = registry_code
        self.retry_after = retry_after
        self.retryable = retryable


class RegistryUnreachable(RegistryFailure):
    """A registry cannot be reached: name resolution, connection or TLS failed, or a time limit passed."""

    code = "registry-unreachable"


class RegistryTooSlow(RegistryUnreachable):
    """A time limit passed: for connecting, for the response, or for the bytes sent or received."""

    code = "registry-too-slow"


class RegistryRefused(RegistryFailure):
    """The registry does not allow this user to do that (401 or 403)."""

    code = "registry-refused"


class RealmNotAllowed(RegistryRefused):
    """A registry wants its password sent to another host, which has not been allowed.

    `realm` is that host.
    """

    code = "realm-not-allowed"

    def __init__(self, message: str, *, realm: str, where: str, hint: str) -> None:
        super().__init__(message, where=where, hint=hint, status=401)
        self.realm = realm


class RegistryBusy(RegistryFailure):
    """The registry was busy (429 or 5xx) for longer than mlxbuild waits."""

    code = "registry-busy"


class RepositoryUnknown(RegistryFailure):
    """The registry has no such repository."""

    code = "repository-unknown"
    kind = Kind.USER  # the registry works: the name is wrong
    exit_code = UserError.exit_code


class ManifestUnknown(RegistryFailure):
    """The repository has no such tag or manifest."""

    code = "manifest-unknown"
    kind = Kind.USER
    exit_code = UserError.exit_code


class RemoteBlobUnknown(RegistryFailure):
    """The repository does not hold a blob that a manifest refers to."""

    code = "remote-blob-unknown"


class ManifestTooLarge(TrustError):
    """A manifest exceeds the size limit."""

    code = "manifest-too-large"


class TransferCorrupt(TrustError):
    """The bytes of a transfer do not match their digest and size."""

    code = "transfer-corrupt"


class CredentialsFailure(UserError):
    """Stored credentials cannot be read or written."""

    code = "credentials-failure"
