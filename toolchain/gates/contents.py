"""The gate `contents`, which checks the files of an artifact."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.toolchain.gates.verdict import Verdict


def judge(artifact: Artifact, given: Mapping[str, Any]) -> Verdict:
    """Check file names. `require`: globs that must each match a file · `forbid`: globs that must match none · `strict`:
    every file must match `require`. A `*` matches across `/`.
    """
    paths = [file.path for file in artifact.files]
    required, forbidden = given.get("require", ()), given.get("forbid", ())
    complaints = [f"no file matches `{glob}`" for glob in required if not _matching(glob, paths)]
    complaints += [f"`{path}` is forbidden by `{glob}`" for glob in forbidden for path in _matching(glob, paths)]
    if given.get("strict"):
        expected = {path for glob in required for path in _matching(glob, paths)}
        complaints += [f"`{path}` is not required by any glob" for path in paths if path not in expected]
    return Verdict(not complaints, "\n".join(complaints) or f"{len(paths)} files", {"files": paths})


def _matching(glob: str, paths: list[str]) -> list[str]:
    return [path for path in paths if fnmatchcase(path, glob)]
