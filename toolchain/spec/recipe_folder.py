"""Resolves the paths in a recipe, which must be inside its folder, its git repository, or a given folder.

Only its base may be elsewhere, unless the recipe must be portable.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from contextlib import suppress
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePosixPath

from mlxbuild.registry.core.suggestions import closest
from mlxbuild.toolchain.spec.problems import Code
from mlxbuild.toolchain.spec.recipe import Reads
from mlxbuild.toolchain.spec.resolved import FolderSource

LARGEST_TEXT_BYTES = 4 * 1024 * 1024

_ABSOLUTE = re.compile(r"/|\\|~|[A-Za-z]:[\\/]|[a-z][a-z0-9+.-]*://")


class PathRefused(Exception):
    """A path in a recipe cannot be used: a message, a note at its marker, and a hint."""

    def __init__(self, code: Code, message: str, note: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.note = note
        self.hint = hint


class RecipeFolder:
    """The folder of a recipe; caches the texts it has read, because variants share them."""

    def __init__(self, recipe: Path, *, portable: bool = False, within: Path | None = None) -> None:
        """`recipe` is the absolute path of the recipe; if it is portable, even its base must be inside.

        Inside means `within` a folder: by default, the git repository around the recipe.
        """
        self.root = recipe.parent
        self.portable = portable
        self._within = within
        self._texts: dict[str, str] = {}
        self._contents: dict[str, str] = {}
        self._places: dict[str, str] = {}

    @cached_property
    def boundary(self) -> Path:
        """The real path of the folder that must hold all files: the given one, the git repository, or the recipe's."""
        if self._within is not None:
            return Path(os.path.realpath(self._within))
        real = Path(os.path.realpath(self.root))
        for folder in (real, *real.parents):
            if os.path.lexists(folder / ".git"):
                return folder
        return real

    @property
    def boundary_word(self) -> str:
        """A word for the boundary in messages."""
        return "repository" if os.path.lexists(self.boundary / ".git") else "folder"

    def text(self, written: str) -> str:
        """The content of a text file without a byte order mark.

        Raises:
            PathRefused: it is outside the boundary, missing, not a file, too large or not UTF-8.
        """
        known = self._texts.get(written)
        if known is not None:
            return known
        path = self.locate(written)
        status = self._status(path, written)
        if not stat.S_ISREG(status.st_mode):
            raise PathRefused(Code.MISSING_FILE, f"`{written}` is not a file", "expected a file")
        if status.st_size > LARGEST_TEXT_BYTES:
            limit = f"{LARGEST_TEXT_BYTES // 1024 // 1024} MiB"
            raise PathRefused(Code.TOO_LARGE, f"`{written}` is larger than {limit}", "too large for a text")
        try:
            content = path.read_bytes()
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            note = f"byte {error.start} is not UTF-8"
            raise PathRefused(Code.ENCODING, f"`{written}` is not UTF-8", note, "save it as UTF-8") from None
        except OSError as error:
            raise PathRefused(Code.MISSING_FILE, f"cannot read `{written}`", str(error.strerror)) from None
        self._texts[written] = text
        self._contents[written] = hashlib.sha256(content).hexdigest()
        self._places[written] = os.path.realpath(path)
        return text

    def base(self, written: str) -> Path:
        """The absolute path of a base's folder, which may be outside unless the recipe must be portable.

        Raises:
            PathRefused: it is missing or not a folder.
        """
        return self._folder(self._locate_base(written), written)

    def folder(self, written: str) -> Path:
        """The absolute path of an existing folder.

        Raises:
            PathRefused: it is outside the boundary, missing or not a folder.
        """
        return self._folder(self.locate(written), written)

    def _folder(self, path: Path, written: str) -> Path:
        if not stat.S_ISDIR(self._status(path, written).st_mode):
            is_gguf = written.endswith(".gguf")
            hint = f"write base: {{gguf: {written}}}" if is_gguf else "name the folder that holds it"
            raise PathRefused(Code.MISSING_FILE, f"`{written}` is not a folder", "expected a folder", hint)
        self._places[written] = os.path.realpath(path)
        return path

    def gguf(self, written: str) -> Path:
        """The absolute path of an existing GGUF file; as a base it may be outside, like a folder.

        Raises:
            PathRefused: it is missing or not a file.
        """
        path = self._locate_base(written)
        if not stat.S_ISREG(self._status(path, written).st_mode):
            hint = "write base: {path: ...} for a folder with safetensors"
            raise PathRefused(Code.MISSING_FILE, f"`{written}` is not a file", "expected a GGUF file", hint)
        self._places[written] = os.path.realpath(path)
        return path

    def reads(self) -> Reads:
        """The files and folders that were used so far, by content and real path."""
        return Reads(str(self.boundary), dict(self._contents), dict(self._places))

    def locate(self, written: str) -> Path:
        """The absolute path for a path in a recipe, checked against the boundary; it need not exist.

        Raises:
            PathRefused: it is empty, absolute, or leads out of the boundary, directly or through a link.
        """
        if not written or "\0" in written:
            raise PathRefused(Code.PATH, "the path is empty or holds a zero byte", "expected a relative path")
        if _ABSOLUTE.match(written):
            raise PathRefused(
                Code.PATH,
                f"`{written}` is not a relative path",
                "expected a path relative to the recipe",
                "copy or move it below the recipe's folder, so that the recipe works on every machine",
            )
        path = absolute(self.root, written)
        real = Path(os.path.realpath(path))
        if not real.is_relative_to(self.boundary):
            place = self.boundary_word
            by_link = absolute(Path(os.path.realpath(self.root)), written).is_relative_to(self.boundary)
            note = f"{'a link that leads' if by_link else 'this is'} outside the recipe's {place}"
            hint = "copy or move it below the recipe's folder"
            raise PathRefused(Code.PATH, f"`{written}` leads out of the recipe's {place}", note, hint)
        return path

    def is_elsewhere(self, written: str) -> bool:
        """Whether a path leads out of the boundary, so that it may be something else on another machine."""
        try:
            self.locate(written)
        except PathRefused:
            return True
        return False

    def _locate_base(self, written: str) -> Path:
        if self.portable or not written or "\0" in written:
            return self.locate(written)
        if written.startswith("~"):
            home = os.path.expanduser(written)  # noqa: PTH111  # raises for nobody
            hint = f"write the whole path: {home}"
            raise PathRefused(Code.PATH, f"`{written}` is not a path", "`~` is not expanded in recipes", hint)
        if _ABSOLUTE.match(written) and not written.startswith("/"):
            return self.locate(written)
        return absolute(self.root, written)

    def _status(self, path: Path, written: str) -> os.stat_result:
        try:
            return path.stat()
        except OSError as error:
            raise PathRefused(
                Code.MISSING_FILE, f"`{written}` is not there", str(error.strerror).lower(), self._nearby(written)
            ) from None

    def _nearby(self, written: str) -> str | None:
        """An existing path similar to a missing one, as the recipe would write it."""
        parts = written.rstrip("/").split("/")
        for number, part in enumerate(parts):
            before = "/".join([*parts[:number], ""])
            if absolute(self.root, before + part).exists():
                continue
            if absolute(self.root, before + part).is_symlink():
                return f"`{before + part}` is a link that leads to nothing"
            with suppress(OSError):
                names = sorted(entry.name for entry in islice(absolute(self.root, before).iterdir(), 1000))
                if (found := closest(part, names)) is not None:
                    whole = "/".join([*parts[:number], found, *parts[number + 1 :]])
                    return f"did you mean `{whole if absolute(self.root, whole).exists() else before + found}`?"
            break
        return None if written.startswith("/") else "paths are relative to the recipe"


def absolute(root: Path, written: str) -> Path:
    """The absolute form of a relative path in a recipe, without file system access."""
    return Path(os.path.normpath(root / written))


def leads_out(written: str) -> bool:
    """Whether a path as written leads out of the recipe's folder; repositories and links are not considered."""
    path = os.path.normpath(written)
    return path.startswith("/") or path.split("/")[0] == ".."


def gguf_source(root: Path, written: str) -> FolderSource:
    """The source for a GGUF file in a recipe: its folder, of which only that file is used."""
    place = PurePosixPath(written)
    folder = str(place.parent)
    return FolderSource(absolute(root, folder), folder, place.name)
