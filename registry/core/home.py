"""The paths below MLXBUILD_HOME. The packages that own a folder create and fill it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Home:
    """The folders of one mlxbuild home (default `~/.mlxbuild`, or `$MLXBUILD_HOME`)."""

    root: Path

    @classmethod
    def from_environment(cls) -> Home:
        """The home that the environment names, absolute."""
        named = os.environ.get("MLXBUILD_HOME")
        return cls(Path(named).expanduser().absolute() if named else Path.home() / ".mlxbuild")

    @property
    def store(self) -> Path:
        """The OCI image layout."""
        return self.root / "store"

    @property
    def models(self) -> Path:
        """Folders of links into blobs, one per manifest."""
        return self.root / "models"

    @property
    def cache(self) -> Path:
        """Traces, index and temporary files, all of which can be deleted."""
        return self.root / "cache"

    @property
    def logs(self) -> Path:
        """Run logs and server logs."""
        return self.root / "logs"
