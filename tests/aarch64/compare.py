"""Compares what two homes built, by the reports that lie in them, and names the first file of a variant that differs.

Called with two folders, each an mlxbuild home with the `report.json` that `create --json` printed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.rebuild import differences


def built(home: Path) -> dict[str, Digest]:
    """Variant to manifest digest."""
    report = json.loads((home / "report.json").read_text(encoding="utf-8"))
    return {artifact["name"]: Digest.parse(artifact["digest"]) for artifact in report["artifacts"]}


def first_difference(home: Path, digest: Digest, other_home: Path, other_digest: Digest) -> str:
    """The first file, and of weights the first tensor, that differs between two artifacts."""
    one, other = (
        Artifact.open(Store.open(Home(root)), manifest)
        for root, manifest in ((home, digest), (other_home, other_digest))
    )
    difference = next(differences(one, other), None)
    if difference is None:
        return "no file differs, only the manifests do"
    tensor = f", tensor {difference.tensor}" if difference.tensor else ""
    return f"first difference in {difference.file}{tensor}"


def main() -> int:
    """Print every variant with its verdict. Returns 1 if any differs, or none was built."""
    home, other_home = Path(sys.argv[1]), Path(sys.argv[2])
    ours, theirs = built(home), built(other_home)
    if not ours or ours.keys() != theirs.keys():
        print(f"not the same variants: {sorted(ours)} in {home.name}, {sorted(theirs)} in {other_home.name}")
        return 1
    width = len(max(home.name, other_home.name, key=len))
    failed = 0
    for name, digest in ours.items():
        if digest == theirs[name]:
            print(f"same      {name}  {digest}")
            continue
        failed = 1
        print(f"DIFFERENT {name}  {first_difference(home, digest, other_home, theirs[name])}")
        print(f"  {home.name:{width}}  {digest}\n  {other_home.name:{width}}  {theirs[name]}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
