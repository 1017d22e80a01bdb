"""Every exception that the Hub client and its HTTP library define becomes one of our errors, without a credential."""

from __future__ import annotations

import errno
import inspect
import pickle
from collections.abc import Iterator

import pytest
from huggingface_hub import errors

from mlxbuild.registry.core.errors import EnvironmentFailure, InfrastructureError, MlxbuildError, UserError
from mlxbuild.registry.store.errors import DiskFull
from mlxbuild.toolchain.sources.errors import HubUnreachable, Offline, RepositoryMissing
from mlxbuild.toolchain.sources.hub_errors import client_errors, http_library, translate

_TOKEN = "hf_plantedCanary0123456789"
_http = http_library()


def _classes() -> list[type[Exception]]:
    found = {
        value
        for module in (errors, _http)
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Exception)
    }
    return sorted(found, key=lambda kind: (kind.__module__, kind.__name__))


def _instances(kind: type[Exception]) -> Iterator[Exception]:
    """Instances of a class with the token in their text, for several statuses where it has a response."""
    text = f"Authorization: Bearer {_TOKEN}"
    if not issubclass(kind, errors.HfHubHTTPError):
        instance = kind.__new__(kind)
        Exception.__init__(instance, text)
        yield instance
        return
    for status in (400, 401, 403, 404, 408, 416, 429, 500, 503):
        request = _http.Request("GET", "http://hub.invalid/x", headers={"Authorization": f"Bearer {_TOKEN}"})
        yield kind(text, response=_http.Response(status, request=request, headers={"X-Error-Message": text}))


_OUR_KIND = (UserError, InfrastructureError, EnvironmentFailure)
_NOT_OF_DOWNLOADS = {
    "CLIError", "ConfirmationError", "CLIExtensionInstallError", "DDUFError", "DDUFCorruptedFileError",
    "DDUFExportError", "DDUFInvalidEntryNameError", "FileDuplicationError", "InferenceEndpointError",
    "NotASafetensorsRepoError", "SafetensorsParsingError", "SandboxError", "SandboxCommandError",
    "StrictDataclassError", "StrictDataclassDefinitionError", "StrictDataclassFieldValidationError",
    "StrictDataclassClassValidationError",
}  # fmt: skip
"""Exceptions of parts of the client that fetching files does not use."""


@pytest.mark.parametrize("kind", _classes(), ids=lambda kind: kind.__name__)
def test_every_exception_is_translated(kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", _TOKEN)
    assert issubclass(kind, client_errors()) or kind.__name__ in _NOT_OF_DOWNLOADS
    for problem in _instances(kind):
        error = translate(problem, repository="acme/tiny", revision="main", path="config.json")
        assert isinstance(error, _OUR_KIND)
        assert type(error) not in (MlxbuildError, *_OUR_KIND)
        assert error.hint
        assert error.where
        assert _TOKEN not in error.diagnostics()
        assert _TOKEN.encode() not in pickle.dumps(error)


def test_the_reason_behind_a_missing_local_entry_is_told() -> None:
    local = errors.LocalEntryNotFoundError("cannot find the file")
    assert isinstance(translate(local, repository="a/b", revision="main"), Offline)
    local.__cause__ = _http.ConnectTimeout("too slow")
    assert isinstance(translate(local, repository="a/b", revision="main"), HubUnreachable)


def test_a_bad_name_and_a_full_disk_are_told_apart() -> None:
    bad = errors.HFValidationError("Repo id must be in the form")
    assert isinstance(translate(bad, repository="a//b", revision="main"), RepositoryMissing)
    full = OSError(errno.ENOSPC, "No space left on device")
    assert isinstance(translate(full, repository="a/b", revision="main"), DiskFull)
    read_only = OSError(errno.EROFS, "Read-only file system")
    error = translate(read_only, repository="a/b", revision="main")
    assert error.exit_code == 6
    assert "HF_HUB_CACHE" in str(error.hint)
