"""Reads YAML files of settings as mappings."""

from __future__ import annotations

from pathlib import Path

from mlxbuild.registry.oci.remote.errors import InvalidSettings
from mlxbuild.registry.store.durable import disk_errors
from mlxbuild.registry.store.errors import StoreFailure


def read_settings(file: Path) -> dict[str, object]:
    """Read a file of settings; the result is empty if the file does not exist.

    Raises:
        InvalidSettings: it is not a YAML mapping.
        StoreFailure: it cannot be read.
    """
    try:
        with disk_errors(file):
            written = file.read_bytes()
    except StoreFailure as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return {}
        raise
    return parse_settings(written, file)


def parse_settings(written: bytes, file: Path) -> dict[str, object]:
    """The settings in the content of a file.

    Raises:
        InvalidSettings: it is not a YAML mapping.
    """
    import yaml  # loaded only if there is a file

    try:
        document = yaml.safe_load(written)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # such as an invalid date
        raise InvalidSettings(f"it is not YAML: {error}", where=str(file)) from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise InvalidSettings("it is not a map of settings", where=str(file))
    return document


def texts(value: object, key: str, file: Path) -> tuple[str, ...]:
    """The hosts that a key lists; none if it is empty.

    Raises:
        InvalidSettings: it is not a list of strings.
    """
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise InvalidSettings(f"`{key}` is not a list of hosts", where=str(file))
    return tuple(value)
