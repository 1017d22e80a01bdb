"""Reads the files of settings that people write, as maps. What their keys mean is known beside this."""

from __future__ import annotations

from pathlib import Path

from mlxbuild.registry.oci.remote.errors import InvalidSettings
from mlxbuild.registry.store.durable import disk_errors
from mlxbuild.registry.store.errors import StoreFailure


def read_settings(file: Path) -> dict[str, object]:
    """A file of settings as it stands; empty where there is none.

    Raises:
        InvalidSettings: it is no map in YAML.
        StoreFailure: it cannot be read.
    """
    try:
        with disk_errors(file):
            written = file.read_bytes()
    except StoreFailure as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return {}
        raise
    import yaml  # not loaded by homes without a configuration

    try:
        document = yaml.safe_load(written)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # such as a date that is none
        raise InvalidSettings(f"it is not YAML: {error}", where=str(file)) from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise InvalidSettings("it is not a map of settings", where=str(file))
    return document


def texts(value: object, key: str, file: Path) -> tuple[str, ...]:
    """The hosts that a key lists; none where it lists nothing.

    Raises:
        InvalidSettings: it is no list of texts.
    """
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise InvalidSettings(f"`{key}` is not a list of hosts", where=str(file))
    return tuple(value)
