"""Where benchmarks work, and mlxbuild as a person calls it there: recipes, homes, commands and what their log says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from benchmarks.measurement import Cost, run
from benchmarks.random_model import made, warm

FOLDER = Path(__file__).parent.parent / ".cache" / "benchmarks"
MLXBUILD = Path(sys.executable).with_name("mlxbuild")
OFFLINE: Mapping[str, str] = {"HF_HUB_OFFLINE": "1", "MLXBUILD_PROGRESS": "plain"}
"""For all sides alike: nothing measured here may wait for a network."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe over a random model that lies beside it."""

    path: Path
    model: Path

    def write(self, **keys: Any) -> None:
        """Write it anew; `keys` go beside its name and base."""
        recipe = {"schema": "mlxbuild/v1", "name": "bench", "version": "1.0", "base": {"path": self.model.name}, **keys}
        self.path.write_text(json.dumps(recipe, indent=1) + "\n", encoding="utf-8")  # JSON is YAML


@dataclass(frozen=True, slots=True)
class Home:
    """A home of mlxbuild, and the commands that are run in it."""

    folder: Path

    def run(self, *arguments: str | Path) -> Cost:
        """Run one command of mlxbuild.

        Raises:
            CommandFailed: it does not exit with 0.
        """
        environment = {**OFFLINE, "MLXBUILD_HOME": str(self.folder)}
        return run([MLXBUILD, *arguments], folder=FOLDER, environment=environment)

    def start(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Begin one command of mlxbuild, unmeasured."""
        environment = {**os.environ, **OFFLINE, "MLXBUILD_HOME": str(self.folder)}
        silent = subprocess.DEVNULL
        return subprocess.Popen([MLXBUILD, *arguments], cwd=FOLDER, env=environment, stdout=silent, stderr=silent)

    def create(self, recipe: Recipe, *options: str) -> Cost:
        """Build a recipe."""
        return self.run("create", "-f", recipe.path, *options)

    def last_run(self) -> dict[str, Any]:
        """What the log keeps of the last build: its seconds, and every action with its outcome."""
        run: dict[str, Any] = json.loads(self.run("log", "last", "--json").stdout)
        return run

    def ran(self, *steps: str) -> list[str]:
        """The actions of some steps that ran in the last build."""
        labels = [action["label"] for action in self.last_run()["actions"] if action["outcome"] == "ran"]
        return [label for label in labels if label.split("/")[1] in steps]

    def artifact_bytes(self, name: str) -> int:
        """The size of an artifact: all its files, its config and its manifest."""
        size: int = json.loads(self.run("show", name, "--json").stdout)["size"]
        return size


@contextmanager
def fresh_home() -> Iterator[Home]:
    """An empty home that is gone afterwards."""
    with fresh_folder() as folder:
        yield Home(folder)


@contextmanager
def fresh_folder() -> Iterator[Path]:
    """An empty folder that is gone afterwards."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    folder = Path(mkdtemp(dir=FOLDER))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def locked_recipe(layers: int, *, keep: bool = True, **keys: Any) -> Iterator[Recipe]:
    """A recipe over a random model of some layers with its lock, made in another home; the model's files are warm.

    Without `keep`, the model is removed afterwards.
    """
    model = made(FOLDER / f"{layers}-layers", layers)
    recipe = Recipe(FOLDER / f"{layers}-layers.yaml", model)
    try:
        recipe.write(**keys)
        lock(recipe)
        warm(model)
        yield recipe
    finally:
        recipe.path.unlink()
        recipe.path.with_suffix(".lock").unlink(missing_ok=True)
        if not keep:
            shutil.rmtree(model)


def lock(*recipes: Recipe) -> None:
    """Lock recipes in a home that nothing else uses."""
    with fresh_home() as elsewhere:
        elsewhere.run("lock", *(recipe.path for recipe in recipes))
