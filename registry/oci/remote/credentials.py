"""Finds the credentials of registries where Docker and Podman keep them."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlxbuild.registry.oci.remote.endpoint import Endpoint
from mlxbuild.registry.oci.remote.errors import CredentialsFailure

_HELPER_SECONDS = 60
_HELPER = re.compile(r"[A-Za-z0-9._-]+")
_TOKEN_USER = "<token>"


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential: a user and password, an identity token to exchange for access tokens, or a registry token."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str | None = field(default=None, repr=False)
    registry_token: str | None = field(default=None, repr=False)


def find(endpoint: Endpoint) -> Credential | None:
    """The credential for an endpoint from Docker's file and helpers (`$DOCKER_CONFIG`), then from Podman's file.

    Podman's file may have credentials for a single repository or namespace.

    Raises:
        CredentialsFailure: a file is not JSON, or a helper fails.
    """
    for file in _files():
        found = _in_file(file, endpoint)
        if found is not None:
            return found
    return None


def docker_file() -> Path:
    """Docker's credential file: `$DOCKER_CONFIG/config.json`, or the one in `~/.docker`."""
    folder = os.environ.get("DOCKER_CONFIG")
    return (Path(folder) if folder else Path.home() / ".docker") / "config.json"


def read_file(file: Path) -> dict[str, Any]:
    """The JSON of a credential file; empty if the file does not exist.

    Raises:
        CredentialsFailure: it cannot be read or is invalid.
    """
    try:
        document = json.loads(file.read_bytes() or b"{}")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CredentialsFailure(f"it cannot be read: {error.strerror}", where=str(file)) from error
    except (ValueError, RecursionError) as error:
        raise CredentialsFailure("it is not JSON", where=str(file), hint="repair or remove it") from error
    if not isinstance(document, dict):
        raise CredentialsFailure("it is not a JSON object", where=str(file), hint="repair or remove it")
    return document


def helper_for(document: dict[str, Any], key: str) -> tuple[str | None, bool]:
    """The credential helper that a file names for a registry, and whether it is for that registry only."""
    helpers = document.get("credHelpers")
    if isinstance(helpers, dict) and isinstance(helpers.get(key), str):
        return helpers[key], True
    store = document.get("credsStore")
    return (store, False) if isinstance(store, str) and store else (None, False)


def run_helper(name: str, action: str, given: str, *, required: bool) -> str | None:
    """The output of `docker-credential-<name> <action>`; None if it has nothing, or is missing and not required.

    Raises:
        CredentialsFailure: it fails.
    """
    program = f"docker-credential-{name}"
    if _HELPER.fullmatch(name) is None:
        raise CredentialsFailure(f"`{name}` is not the name of a credential helper")
    try:
        done = subprocess.run(
            [program, action], input=given.encode(), capture_output=True, check=False, timeout=_HELPER_SECONDS
        )
    except FileNotFoundError:
        if not required:
            return None
        raise CredentialsFailure(
            f"the credential helper `{program}` is not installed", hint="install it, or take it out of config.json"
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CredentialsFailure(f"the credential helper `{program}` failed: {error}") from error
    output = done.stdout.decode(errors="replace")
    if done.returncode == 0:
        return output
    message = " ".join((output + done.stderr.decode(errors="replace")).split())[:200]
    if "not found" in message:
        return None
    raise CredentialsFailure(f"the credential helper `{program}` failed: {message}")


def _files() -> Iterator[Path]:
    yield docker_file()
    named = os.environ.get("REGISTRY_AUTH_FILE")
    if named:
        yield Path(named)
        return
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        yield Path(runtime) / "containers" / "auth.json"
    settings = os.environ.get("XDG_CONFIG_HOME")
    yield (Path(settings) if settings else Path.home() / ".config") / "containers" / "auth.json"


def _paths(endpoint: Endpoint) -> Iterator[str]:
    path = f"{endpoint.host}/{endpoint.repository}"
    while "/" in path:
        yield path
        path = path.rpartition("/")[0]


def _in_file(file: Path, endpoint: Endpoint) -> Credential | None:
    document = read_file(file)
    key = endpoint.credential_keys[0]
    helper, own = helper_for(document, key)
    found = None if helper is None else _from_helper(helper, key, required=own)
    if found is not None:
        return found
    entries = document.get("auths")
    for key in (*_paths(endpoint), *endpoint.credential_keys):
        entry = entries.get(key) if isinstance(entries, dict) else None
        if isinstance(entry, dict):
            found = _from_entry(entry, file)
            if found is not None:
                return found
    return None


def _from_helper(name: str, key: str, *, required: bool) -> Credential | None:
    output = run_helper(name, "get", key, required=required)
    if output is None:
        return None
    try:
        answer = json.loads(output)
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, LookupError, TypeError) as error:
        raise CredentialsFailure(f"the credential helper `docker-credential-{name}` printed no credential") from error
    return Credential(identity_token=secret) if user == _TOKEN_USER else Credential(user, secret)


def _from_entry(entry: dict[str, Any], file: Path) -> Credential | None:
    user, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            user, colon, password = base64.b64decode(str(entry["auth"]), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise CredentialsFailure("an `auth` in it is not base64", where=str(file)) from error
        password = password.rstrip("\0") if colon else ""
    identity, token = entry.get("identitytoken"), entry.get("registrytoken")
    if identity or token:
        return Credential(user, password, str(identity) if identity else None, str(token) if token else None)
    return Credential(user, password) if user else None
