"""The gate `size`, which checks the total size of an artifact's files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.toolchain.gates.verdict import Verdict


def judge(artifact: Artifact, given: Mapping[str, Any]) -> Verdict:
    """Check that the total size is at most `max_bytes`. A blob shared by two files counts once."""
    size = sum(blob.size_bytes for blob in {file.blob for file in artifact.files})
    most = given["max_bytes"]
    relation = "at most" if size <= most else "more than"
    return Verdict(size <= most, f"{size:,} bytes, {relation} {most:,}", {"bytes": size, "max_bytes": most})
