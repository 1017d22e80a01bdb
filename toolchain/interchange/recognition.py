"""Recognises the format of a path that is to be imported, by its content where the name is not enough."""

from __future__ import annotations

import codecs
import os
import re
from enum import StrEnum
from pathlib import Path

from mlxbuild.registry.store.layout import LAYOUT_FILE
from mlxbuild.toolchain.interchange.errors import NotImportable
from mlxbuild.toolchain.sources.gguf.choice import models_among

_BEGINNING_BYTES = 64 * 1024
_FROM = re.compile(rb"^\s*FROM\s+\S", re.MULTILINE | re.IGNORECASE)
_KIT = re.compile(rb"^manifestVersion\s*:", re.MULTILINE)


class ImportFormat(StrEnum):
    """A format that can be imported."""

    ARCHIVE = "archive"
    LAYOUT = "layout"
    FOLDER = "folder"
    MODELFILE = "Modelfile"
    KITFILE = "Kitfile"
    GGUF = "GGUF file"


def recognise(path: Path) -> tuple[ImportFormat, Path]:
    """The format, and its file or folder: in a folder, a Modelfile or Kitfile may be found.

    Raises:
        NotImportable: it has none of these formats, or does not exist.
    """
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        raise NotImportable(f"there is no `{path}`", hint="name a file or a folder; `mlxbuild pull` fetches by name")
    if not path.is_file():
        return ImportFormat.ARCHIVE, path  # a named pipe
    with path.open("rb") as file:
        beginning = file.read(_BEGINNING_BYTES).removeprefix(codecs.BOM_UTF8)
    if beginning[257:262] == b"ustar" or beginning.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
        return ImportFormat.ARCHIVE, path
    if _KIT.search(beginning):
        return ImportFormat.KITFILE, path
    if _FROM.search(beginning) or beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return ImportFormat.MODELFILE, path
    if beginning.startswith(b"GGUF"):
        return ImportFormat.GGUF, path
    raise _unknown(path)


def _folder(path: Path) -> tuple[ImportFormat, Path]:
    if (path / LAYOUT_FILE).is_file():
        return ImportFormat.LAYOUT, path
    if (path / "config.json").is_file():
        return ImportFormat.FOLDER, path
    for form in (ImportFormat.MODELFILE, ImportFormat.KITFILE):
        if (path / form.value).is_file():
            return form, path / form.value
    if models_among(each.name for each in path.iterdir()):
        return ImportFormat.GGUF, path
    raise _unknown(path)


def _unknown(path: Path) -> NotImportable:
    return NotImportable(
        f"`{os.fspath(path)}` cannot be imported",
        hint="OCI archives and layouts, model folders with a config.json, GGUF files, Modelfiles and Kitfiles can be",
    )
