"""What `import mlxbuild` offers, and what the front door does not load: libraries that cost seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

import pytest

import mlxbuild as package
from tests.mlxbuild.conftest import CommandLine

HEAVY = ("mlx", "mlx_lm", "transformers", "networkx", "sanic", "huggingface_hub", "torch")

_PROBE = """\
import json, sys
{statement}
loaded = {{name.partition(".")[0] for name in sys.modules}}
sys.stderr.write("\\nloaded " + json.dumps(sorted(loaded)))
"""
_RUN = "from mlxbuild.cli.program import run\nassert run({arguments!r}) == 0"


def _loaded(statement: str, mlxbuild: CommandLine) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after a statement."""
    done = subprocess.run(
        [sys.executable, "-c", _PROBE.format(statement=statement)],
        cwd=mlxbuild.folder,
        env=mlxbuild.environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.rpartition("loaded ")[2]))


def _command(arguments: Sequence[str]) -> str:
    return _RUN.format(arguments=list(arguments))


def test_all_names_what_the_package_offers() -> None:
    code = "import json, mlxbuild; print(json.dumps([name for name in dir(mlxbuild) if not name.startswith('_')]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    offered = set(json.loads(done.stdout)) - {"annotations", "TYPE_CHECKING"}
    assert offered | {"__version__"} == set(package.__all__)
    assert all(hasattr(package, name) for name in package.__all__)


def test_every_public_name_has_a_contract() -> None:
    for name in package.__all__:
        assert name == "__version__" or getattr(package, name).__doc__


@pytest.mark.parametrize(
    "statement",
    [
        "import mlxbuild",
        _command(["--help"]),
        _command(["create", "--help"]),
        _command(["version"]),
        _command(["list"]),
        _command(["lint"]),
        _command(["plan"]),
    ],
)
def test_light_things_load_nothing_heavy(statement: str, mlxbuild: CommandLine) -> None:
    assert not _loaded(statement, mlxbuild) & set(HEAVY)


def test_a_fully_cached_create_loads_nothing_heavy(mlxbuild: CommandLine) -> None:
    assert mlxbuild("create").code == 0
    assert not _loaded(_command(["create", "--expect-cached"]), mlxbuild) & set(HEAVY)


def test_the_probe_sees_what_is_loaded(mlxbuild: CommandLine) -> None:
    assert "mlx" in _loaded("import mlx.core", mlxbuild)
