"""Changes one setting of the server in config.yaml, or removes it. `edit` knows how the text is written."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxbuild.configuration.edit import with_value, without_value
from mlxbuild.configuration.form import ServeForm, listed, mapped
from mlxbuild.configuration.resolve import configure, require_setting, validated
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.oci.remote.errors import InvalidSettings
from mlxbuild.registry.oci.remote.setting_files import parse_settings
from mlxbuild.registry.oci.remote.settings import FILE_NAME, SERVE_KEY
from mlxbuild.registry.store.durable import disk_errors, replace_file
from mlxbuild.registry.store.leases import exclusive_file

_WHOLE, _DECIMAL = re.compile(r"-?\d+"), re.compile(r"-?\d+\.\d+")


@dataclass(frozen=True, slots=True)
class Change:
    """The value that a setting had in config.yaml, and the one that it has now; None where there is none."""

    key: str
    before: Any
    after: Any


def set_setting(home: Home, key: str, text: str) -> Change:
    """Give a setting of the server the value that a person wrote, as in the environment.

    Raises:
        InvalidSettings: there is no such setting, the value is invalid, or the file has mistakes; it is unchanged.
        StoreFailure: the file cannot be read or replaced.
    """
    key = _known(key)
    value = _typed(key, text)
    validated({key: (value, None)})

    def changed(section: dict[str, Any]) -> None:
        section[key] = value

    return _change(home, key, lambda written: with_value(written, SERVE_KEY, key, value), changed)


def unset_setting(home: Home, key: str) -> Change:
    """Remove a setting of the server from config.yaml, so that its default applies.

    Raises:
        InvalidSettings: there is no such setting, or the file has other mistakes; it is unchanged.
        StoreFailure: the file cannot be read or replaced.
    """
    key = _known(key)
    return _change(
        home, key, lambda written: without_value(written, SERVE_KEY, key), lambda section: section.pop(key, None)
    )


def _known(key: str) -> str:
    key = key.removeprefix(f"{SERVE_KEY}.")
    require_setting(key, None)
    return key


def _typed(key: str, text: str) -> Any:
    """The value as YAML has it: numbers as numbers, since not every reader of the file takes them for such as text."""
    default = ServeForm.model_fields[key].get_default(call_default_factory=True)
    if isinstance(default, tuple):
        return listed(text)
    if isinstance(default, dict):
        try:
            return mapped(text)
        except ValueError:
            return text  # which is refused with the reason
    text = text.strip()
    return int(text) if _WHOLE.fullmatch(text) else float(text) if _DECIMAL.fullmatch(text) else text


def _change(home: Home, key: str, edited: Callable[[str], str], changed: Callable[[dict[str, Any]], object]) -> Change:
    file = home.root / FILE_NAME
    with exclusive_file(home.cache / "locks" / "config"):
        written, mode = _read(file)
        before = parse_settings(written, file)
        expected = copy.deepcopy(before)
        section = expected.get(SERVE_KEY) or {}
        if not isinstance(section, dict):
            raise InvalidSettings(f"`{SERVE_KEY}` is not a map of settings", where=str(file))
        old = copy.deepcopy(section.get(key))
        changed(section)
        expected[SERVE_KEY] = section
        try:
            text = written.decode("utf-8")
            result = edited(text).encode("utf-8")
            found = parse_settings(result, file)
        except (UnicodeError, InvalidSettings):
            raise _not_editable(key, file) from None
        if {**found, SERVE_KEY: found.get(SERVE_KEY) or {}} != expected:
            raise _not_editable(key, file)
        configure(home, {}, written=result)
        if result != written:
            target = file.resolve()  # it may be a link into a repository of settings
            replace_file(target, result, temporary_folder=target.parent, mode=mode)
    return Change(key, old, section.get(key))


def _not_editable(key: str, file: Path) -> InvalidSettings:
    return InvalidSettings(
        f"`{SERVE_KEY}.{key}` cannot be changed here, as the file is written", where=str(file), hint="edit the file"
    )


def _read(file: Path) -> tuple[bytes, int]:
    """The file's content and mode; those of an empty file if it does not exist."""
    with disk_errors(file):
        try:
            return file.read_bytes(), file.stat().st_mode & 0o777
        except FileNotFoundError:
            return b"", 0o644
