"""The example's digests, which the readme promises to every machine. Other bytes are a decision, never an accident:
bump the implementation of the step that gives them, and write `examples/hello/digests.json` anew.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_example_has_the_same_digests_on_every_machine(tmp_path: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("mlxbuild"), "create", "-f", "examples/hello", "--locked", "--no-gates"],
        cwd=ROOT,
        env=os.environ | {"MLXBUILD_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=True,
    )
    built = dict(line.split() for line in done.stdout.splitlines())
    assert built == json.loads((ROOT / "examples" / "hello" / "digests.json").read_text())
