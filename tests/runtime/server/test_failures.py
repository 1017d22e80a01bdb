"""Which status errors have over HTTP."""

from __future__ import annotations

import pytest

from mlxbuild.registry.artifact.manifest import InvalidManifest
from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.registry.oci.remote.errors import ManifestUnknown, RegistryFailure, RepositoryUnknown
from mlxbuild.registry.store.errors import DiskFull
from mlxbuild.registry.store.tags import UnknownReference
from mlxbuild.registry.trust.errors import Untrusted
from mlxbuild.runtime.model.memory import OutOfMemory
from mlxbuild.runtime.protocol.errors import RequestTooLarge
from mlxbuild.runtime.residency.errors import ModelKeepsDying, ModelTooLarge, NoRoom, ServerBusy, ServerStopping
from mlxbuild.runtime.runner.errors import RunnerDied
from mlxbuild.runtime.server.failures import InvalidRequest, NotSupported, RequestTooSlow, failure_of
from mlxbuild.runtime.server.inference.options import OptionOfWrongType
from mlxbuild.runtime.server.ollama.failures import FormatOfWrongKind
from mlxbuild.runtime.server.security.failures import Forbidden, NoApiKey, RateLimited


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (InvalidRequest, 400),
        (NotSupported, 400),
        (NoApiKey, 401),
        (Forbidden, 403),
        (Untrusted, 403),
        (UnknownReference, 404),
        (ManifestUnknown, 404),
        (RepositoryUnknown, 404),
        (RequestTooSlow, 408),
        (RequestTooLarge, 413),
        (RateLimited, 429),
        (RunnerDied, 500),
        (OutOfMemory, 500),
        (ModelTooLarge, 500),
        (DiskFull, 507),
        (InvalidManifest, 500),
        (OptionOfWrongType, 400),
        (FormatOfWrongKind, 400),
        (RegistryFailure, 502),
        (ServerBusy, 503),
        (ServerStopping, 503),
        (NoRoom, 503),
        (ModelKeepsDying, 503),
    ],
)
def test_statuses(kind: type[MlxbuildError], status: int) -> None:
    failure = failure_of(kind("what happened", hint="what to do"))
    assert (failure.status, failure.message, failure.code, failure.hint) == (
        status,
        "what happened",
        kind.code,
        "what to do",
    )
