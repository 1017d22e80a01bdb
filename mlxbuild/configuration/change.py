"""Changes one setting of the server or of the registries in config.yaml. `edit` knows how the text is written."""

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
from mlxbuild.registry.oci.remote.settings import FILE_NAME, KEYS, SERVE_KEY
from mlxbuild.registry.store.durable import disk_errors, replace_file
from mlxbuild.registry.store.leases import exclusive_file

_WHOLE, _DECIMAL = re.compile(r"-?\d+"), re.compile(r"-?\d+\.\d+")


@dataclass(frozen=True, slots=True)
class Change:
    """The value that a setting had in config.yaml, and the one that it has now; None where there is none."""

    key: str
    before: Any
    after: Any
    section: str | None = SERVE_KEY
    """The section of the file that has it; None for the top level, where the settings of registries are."""

    @property
    def name(self) -> str:
        """The setting as people write it."""
        return _name(self.section, self.key)


def set_setting(home: Home, key: str, text: str) -> Change:
    """Give a setting the value that a person wrote, as in the environment.

    Raises:
        InvalidSettings: there is no such setting, the value is invalid, or the file has mistakes; it is unchanged.
        StoreFailure: the file cannot be read or replaced.
    """
    section, key = located(key)
    if section is None:
        value = _typed_for_registries(home, key, text)
    else:
        value = _typed(key, text)
        validated({key: (value, None)})

    def changed(settings: dict[str, Any]) -> None:
        settings[key] = value

    return _change(home, section, key, lambda written: with_value(written, section, key, value), changed)


def unset_setting(home: Home, key: str) -> Change:
    """Remove a setting from config.yaml, so that its default applies.

    Raises:
        InvalidSettings: there is no such setting, or the file has other mistakes; it is unchanged.
        StoreFailure: the file cannot be read or replaced.
    """
    section, key = located(key)
    return _change(
        home,
        section,
        key,
        lambda written: without_value(written, section, key),
        lambda settings: settings.pop(key, None),
    )


def located(key: str) -> tuple[str | None, str]:
    """The section of a setting, None for one of registries, and its key there.

    Raises:
        InvalidSettings: there is no such setting.
    """
    if key in KEYS:
        return None, key
    key = key.removeprefix(f"{SERVE_KEY}.")
    require_setting(key, None)
    return SERVE_KEY, key


def _name(section: str | None, key: str) -> str:
    return key if section is None else f"{section}.{key}"


def _typed_for_registries(home: Home, key: str, text: str) -> Any:
    if key == "mirrors":
        raise InvalidSettings(
            "`mirrors` maps each registry to its mirrors, and is not set by command",
            where=str(home.root / FILE_NAME),
            hint="write it at the top level of the file, such as `mirrors: {docker.io: [mirror.example.com]}`",
        )
    return listed(text) if key == "insecure" else _plain(text)


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
    return _plain(text)


def _plain(text: str) -> Any:
    text = text.strip()
    return int(text) if _WHOLE.fullmatch(text) else float(text) if _DECIMAL.fullmatch(text) else text


def _change(
    home: Home,
    section: str | None,
    key: str,
    edited: Callable[[str], str],
    changed: Callable[[dict[str, Any]], object],
) -> Change:
    file, name = home.root / FILE_NAME, _name(section, key)
    with exclusive_file(home.cache / "locks" / "config"):
        written, mode = _read(file)
        before = parse_settings(written, file)
        expected = copy.deepcopy(before)
        settings = expected if section is None else expected.get(section) or {}
        if not isinstance(settings, dict):
            raise InvalidSettings(f"`{SERVE_KEY}` is not a map of settings", where=str(file))
        old = copy.deepcopy(settings.get(key))
        changed(settings)
        if section is not None:
            expected[section] = settings
        try:
            text = written.decode("utf-8")
            result = edited(text).encode("utf-8")
            found = parse_settings(result, file)
        except (UnicodeError, InvalidSettings):
            raise _not_editable(name, file) from None
        if section is not None:
            found[section] = found.get(section) or {}
        if found != expected:
            raise _not_editable(name, file)
        configure(home, {}, written=result)
        if result != written:
            target = file.resolve()  # it may be a link into a repository of settings
            replace_file(target, result, temporary_folder=target.parent, mode=mode)
    return Change(key, old, settings.get(key), section)


def _not_editable(name: str, file: Path) -> InvalidSettings:
    return InvalidSettings(
        f"`{name}` cannot be changed here, as the file is written", where=str(file), hint="edit the file"
    )


def _read(file: Path) -> tuple[bytes, int]:
    """The file's content and mode; those of an empty file if it does not exist."""
    with disk_errors(file):
        try:
            return file.read_bytes(), file.stat().st_mode & 0o777
        except FileNotFoundError:
            return b"", 0o644
