"""The command line as a person uses it: the installed program, a home of its own, and a small recipe to build."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.home import Home
from mlxbuild.registry.store.layout import Store
from mlxbuild.toolchain.create import create
from mlxbuild.toolchain.events.stream import EventStream
from mlxbuild.toolchain.prepare import LockMode, prepare
from mlxbuild.toolchain.spec.load import load
from tests.mlxbuild import preloaded
from tests.toolchain.weights.tiny_models import write_model

_DEADLINE_SECONDS = 240
PROGRAM = Path(sys.executable).with_name("mlxbuild")

RECIPE = """\
name: tiny
version: "1.0"
description: A small random model
base: {path: model}
system_prompt: Be brief.
variants:
  quantization: [int4, none]
tests:
  - contents: {require: [config.json, tokenizer.json], forbid: ["*.py"]}
  - size: {max: 40MiB}
"""

TEMPLATE = """\
{% for message in messages %}<|im_start|>{{ message['role'] }}
{{ message['content'] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


@dataclass(frozen=True)
class Outcome:
    """What one command did."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class CommandLine:
    """Runs `mlxbuild` in a folder, with a home and an environment of its own."""

    folder: Path
    home: Home

    def __call__(self, *words: str, stdin: str | None = None, env: dict[str, str] | None = None) -> Outcome:
        """Run one command to its end, in a process that has all imported, unless something is about its interpreter."""
        if all(name.startswith(("CI", "MLXBUILD_")) for name in env or ()):
            return Outcome(*preloaded.run(words, self.folder, self.environment(env), stdin, _DEADLINE_SECONDS))
        done = subprocess.run(
            [PROGRAM, *words],
            cwd=self.folder,
            env=self.environment(env),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=_DEADLINE_SECONDS,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Begin one command."""
        return subprocess.Popen(
            [PROGRAM, *words],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def environment(self, more: dict[str, str] | None = None) -> dict[str, str]:
        """Nothing of the outer CI or Hub settings, so that tests see what a person sees."""
        left_out = ("CI", "GITHUB_ACTIONS", "MLXBUILD_", "HF_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
        return kept | {"MLXBUILD_HOME": str(self.home.root), "MLXBUILD_PROGRESS": "plain"} | (more or {})

    @property
    def store(self) -> Store:
        """The store of the home."""
        return Store.open(self.home)

    def built(self, variant: str = "int4") -> str:
        """Create, and return the digest of a variant."""
        done = self("create")
        assert done.code == 0, done.err
        return dict(line.split() for line in done.out.splitlines())[f"tiny:{variant}@1.0"]

    def ran(self, *words: str) -> list[str]:
        """Create, and return the labels of the actions that ran."""
        done = self("create", *words)
        assert done.code == 0, done.err
        report = json.loads(self("log", "last", "--json").out)
        return sorted(a["label"] for a in report["actions"] if a["outcome"] == "ran" and "fetch/" not in a["label"])


def create_here(folder: Path, home: Home, *, as_before: bool = False) -> Artifact:
    """Build the one variant of a recipe in this process; `as_before` with the paths that earlier versions left in."""
    store = Store.open(home)
    (variant,) = prepare(load(folder / "ModelSpec.yaml"), store, LockMode.UPDATE).variants()
    report = create([replace(variant, is_carried=as_before)], store, EventStream([]), run="1")
    (built,) = report.artifacts
    assert built.digest is not None, report.errors
    return Artifact.open(store, built.digest)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random llama of three layers with a byte-level tokenizer and a chat template."""
    folder = write_model(tmp_path_factory.mktemp("tiny") / "model", "llama", shards=2)
    vocabulary = {token: number for number, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet())[:90])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


@pytest.fixture
def recipe_folder(tmp_path: Path, tiny_model: Path) -> Path:
    """A folder with a recipe and its model."""
    folder = tmp_path / "recipe"
    folder.mkdir()
    for file in tiny_model.iterdir():
        target = folder / "model" / file.name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(file.read_bytes())
    (folder / "ModelSpec.yaml").write_text(RECIPE)
    return folder


@pytest.fixture
def mlxbuild(recipe_folder: Path, home: Home) -> CommandLine:
    """The program, in a folder with a recipe."""
    return CommandLine(recipe_folder, home)


@pytest.fixture
def edit(recipe_folder: Path) -> Callable[[str, str], None]:
    """Replaces a text in the recipe."""

    def replace(old: str, new: str) -> None:
        path = recipe_folder / "ModelSpec.yaml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return replace


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """The program in an empty folder, with no credentials of the person who runs the tests."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "none.json"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    home = Home(tmp_path / "home")
    home.root.mkdir()
    return CommandLine(tmp_path, home)
