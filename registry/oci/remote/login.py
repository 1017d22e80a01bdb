"""Stores and removes credentials in Docker's file or credential helpers, which all tools on the machine share."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from mlxbuild.registry.core.reference import Reference
from mlxbuild.registry.oci.remote.credentials import Credential, docker_file, helper_for, read_file, run_helper
from mlxbuild.registry.oci.remote.endpoint import Endpoint, locate
from mlxbuild.registry.oci.remote.errors import CredentialsFailure, RealmNotAllowed, RegistryRefused
from mlxbuild.registry.oci.remote.settings import Settings
from mlxbuild.registry.oci.remote.transport import Transport
from mlxbuild.registry.store.durable import replace_file
from mlxbuild.registry.store.errors import StoreFailure


def registry(host: str, settings: Settings) -> Endpoint:
    """The endpoint of a registry from any usual spelling: `ghcr.io`, `https://ghcr.io/`, `docker.io`.

    Raises:
        InvalidReference: it is not a host.
    """
    name = host.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return locate(Reference("registry", host=name.lower()), settings)


def check(endpoint: Endpoint, credential: Credential, settings: Settings) -> None:
    """Check that the registry accepts a credential. One that needs no credential accepts any.

    Raises:
        RegistryRefused: it does not.
        RealmNotAllowed: the credential would have to be sent to another host; nothing was sent.
        RegistryFailure: the registry does not answer.
    """
    try:
        Transport(endpoint, settings, credential).ping()
    except RealmNotAllowed:
        raise
    except RegistryRefused as error:
        error.hint = "check the user and the password, which may have to be a token"
        raise


def keep(endpoint: Endpoint, credential: Credential) -> str:
    """Store a user and password; returns where they are stored, for display.

    Raises:
        CredentialsFailure: they cannot be stored; what was stored before stays.
    """
    file, key = docker_file(), endpoint.credential_keys[0]
    document = read_file(file)
    helper, own = helper_for(document, key)
    if helper is not None:
        secret = {"ServerURL": key, "Username": credential.username, "Secret": credential.password}
        if run_helper(helper, "store", json.dumps(secret), required=own) is not None:
            return f"the credential helper `{helper}`"
    text = f"{credential.username}:{credential.password}"
    entries = _entries(document, file)
    entries[key] = {"auth": base64.b64encode(text.encode()).decode()}
    _write(file, document)
    return str(file)


def forget(endpoint: Endpoint) -> bool:
    """Remove the credentials of a registry under all of its names; False if there were none.

    Raises:
        CredentialsFailure: they cannot be removed.
    """
    file = docker_file()
    document = read_file(file)
    entries = _entries(document, file)
    key = endpoint.credential_keys[0]
    helper, _ = helper_for(document, key)
    helped = helper is not None and run_helper(helper, "get", key, required=False) is not None
    if helper is not None and helped:
        run_helper(helper, "erase", key, required=False)
    removed = [entries.pop(name) for name in endpoint.credential_keys if name in entries]
    if removed:
        _write(file, document)
    return helped or bool(removed)


def _entries(document: dict[str, Any], file: Path) -> dict[str, Any]:
    entries = document.setdefault("auths", {})
    if not isinstance(entries, dict):
        raise CredentialsFailure("its `auths` is not an object", where=str(file), hint="repair or remove it")
    return entries


def _write(file: Path, document: dict[str, Any]) -> None:
    target = file.resolve()  # the file may be a symbolic link, which stays
    try:
        replace_file(target, f"{json.dumps(document, indent=2)}\n".encode(), temporary_folder=target.parent, mode=0o600)
    except StoreFailure as error:
        raise CredentialsFailure(
            "it cannot be written", where=str(file), hint="check its owner and the disk"
        ) from error
