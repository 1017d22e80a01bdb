"""Ways from the GGUF file of SmolLM2 to its artifact: what `init` prints, a Modelfile, a registry as Ollama has it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mlxbuild.registry.core.home import Home
from tests.mlxbuild.conftest import CommandLine
from tests.ollama_registry import LocalOllamaRegistry, layer
from tests.real.models import SMOLLM2_GGUF, require

QUESTION, ANSWER = "What is the capital of France?", "The capital of France is Paris."


@pytest.fixture
def here(tmp_path: Path, home: Home) -> CommandLine:
    """The program in a folder with the file."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / SMOLLM2_GGUF.name).symlink_to(require(SMOLLM2_GGUF))
    return CommandLine(tmp_path / "here", home)


def shards(here: CommandLine, recipe: str) -> set[str]:
    """The weights of the artifact, once it has answered."""
    (here.folder / "ModelSpec.yaml").write_text(recipe)
    done = here("create")
    assert done.code == 0, done.err
    name = done.out.split()[0]
    answered = here("run", name, QUESTION, "--temperature", "0", "--max-tokens", "16")
    assert answered.out.strip() == ANSWER, answered.err
    files = json.loads(here("show", name, "--json").out)["files"]
    return {file["digest"] for file in files if file["path"].endswith(".safetensors")}


def test_every_way_gives_the_same_weights(here: CommandLine, ollama_registry: LocalOllamaRegistry) -> None:
    printed = here("init", SMOLLM2_GGUF.name)
    assert printed.code == 0, printed.err
    weights = shards(here, printed.out)
    (here.folder / "Modelfile").write_text(f"FROM ./{SMOLLM2_GGUF.name}\nPARAMETER num_predict 40\n")
    assert shards(here, here("import", "Modelfile").out) == weights
    parameters = b'{"stop": ["<|im_start|>", "<|im_end|>"], "temperature": 0}'
    model = [
        layer("model", SMOLLM2_GGUF.read_bytes()),
        layer("template", b"{{ .Prompt }}"),
        layer("params", parameters),
    ]
    ollama_registry.publish("library/smollm2:135m", model)
    printed = here("import", f"ollama:{ollama_registry.host}/library/smollm2:135m")
    assert printed.code == 0, printed.err
    assert shards(here, printed.out) == weights
