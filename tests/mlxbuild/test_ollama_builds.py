"""Models of Ollama's registry, by the command line: from their name to an answer, and without a network afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import mlx.core as mx
import pytest
import yaml

from mlxbuild.registry.core.home import Home
from tests.mlxbuild.conftest import CommandLine
from tests.ollama_registry import Layer, LocalOllamaRegistry, layer, write_local_models
from tests.toolchain.sources.ollama.tiny_ollama import GO_TEMPLATE, gguf_layers, tensor_layers

CHATML = b"""\
{{- if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ end }}{{ range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""


@pytest.fixture
def here(tmp_path: Path, home: Home) -> CommandLine:
    """The program in an empty folder."""
    (tmp_path / "here").mkdir()
    return CommandLine(tmp_path / "here", home)


def built(here: CommandLine, recipe: str) -> str:
    """The name of what a recipe gives."""
    (here.folder / "ModelSpec.yaml").write_text(recipe)
    done = here("create")
    assert done.code == 0, done.err
    return done.out.split()[0]


def shards(here: CommandLine, name: str) -> dict[str, str]:
    files = json.loads(here("show", name, "--json").out)["files"]
    return {file["path"]: file["digest"] for file in files if file["path"].endswith(".safetensors")}


def test_a_name_becomes_a_recipe_and_an_artifact(
    here: CommandLine, ollama_registry: LocalOllamaRegistry, tmp_path: Path
) -> None:
    layers = gguf_layers(tmp_path, layer("projector", b"GGUF"))
    digest = ollama_registry.publish("library/tiny:q8", layers)
    name = f"{ollama_registry.host}/library/tiny:q8"
    printed = here("import", f"ollama:{name}")
    assert printed.code == 0, printed.err
    assert "note: left out: its vision projector (`projector`)." in printed.err
    assert "note: left out: the parameter mirostat" in printed.err
    recipe = yaml.safe_load(printed.out)
    assert (recipe["name"], recipe["base"], recipe["license"]) == ("tiny", {"ollama": name}, "Apache-2.0")
    assert '#   system_prompt: "Be brief."' in printed.out
    assert built(here, printed.out) == "tiny:keep@1.0"
    (here.folder / "made.gguf").write_bytes(layers[0].content)
    built(here, 'name: same\nversion: "1.0"\nbase: {gguf: made.gguf}\n')
    assert shards(here, "tiny:keep") == shards(here, "same:keep")
    assert here("run", "tiny:keep", "ab", "--max-tokens", "2").code == 0
    plain = here("export", "tiny:keep", "plain")
    assert plain.code == 0, plain.err
    defaults = json.loads((here.folder / "plain" / "mlxbuild" / "defaults.json").read_text())
    assert defaults["system_prompt"] == "Be brief."
    assert defaults["parameters"] == {"context": 64, "stops": ["</s>"], "temperature": 0.5}
    assert (here.folder / "plain" / "LICENSE").read_bytes() == layers[5].content
    for way in ("--rebuild", "--against-source"):
        verified = here("verify", "tiny:keep", way)
        assert verified.code == 0, verified.err
    manifest = json.loads(here("inspect", "tiny:keep", "--json").out)
    assert f"{name}@{digest}" in json.dumps(manifest)


def test_a_recipe_has_the_last_word(here: CommandLine, ollama_registry: LocalOllamaRegistry, tmp_path: Path) -> None:
    ollama_registry.publish("library/tiny:q8", gguf_layers(tmp_path))
    name = f"{ollama_registry.host}/library/tiny:q8"
    own = 'system_prompt: ""\ndefaults: {temperature: 0}\nquantization: int8\n'
    assert built(here, f'name: own\nversion: "1.0"\nbase: {{ollama: "{name}"}}\n{own}') == "own:int8@1.0"
    assert here("export", "own:int8", "plain").code == 0
    defaults = json.loads((here.folder / "plain" / "mlxbuild" / "defaults.json").read_text())
    assert defaults["system_prompt"] == ""
    assert defaults["parameters"] == {"context": 64, "stops": ["</s>"], "temperature": 0}


def test_once_built_nobody_is_asked_again(here: CommandLine, ollama_models: Path, tmp_path: Path) -> None:
    layers = gguf_layers(tmp_path)
    with LocalOllamaRegistry() as registry:
        registry.publish("library/tiny:q8", layers)
        recipe = f'name: tiny\nversion: "1.0"\nbase: {{ollama: "{registry.host}/library/tiny:q8"}}\n'
        built(here, recipe)
    assert here.ran() == []
    built(here, recipe + "defaults: {top_k: 3}\n")  # a change that needs the base's files
    assert here("verify", "tiny:keep", "--rebuild").code == 0


def test_what_ollama_has_here_is_built_without_a_network(
    here: CommandLine, ollama_models: Path, tmp_path: Path
) -> None:
    write_local_models(ollama_models, "registry.ollama.ai", "library/tiny:q8", gguf_layers(tmp_path))
    printed = here("import", "ollama:tiny:q8")
    assert printed.code == 0, printed.err
    assert built(here, printed.out) == "tiny:keep@1.0"


def test_a_template_that_only_go_has(here: CommandLine, ollama_registry: LocalOllamaRegistry, tmp_path: Path) -> None:
    def printed(*layers: Layer) -> dict[str, object]:
        others = [each for each in gguf_layers(tmp_path, tokenizer__chat_template=None) if each.content != GO_TEMPLATE]
        ollama_registry.publish("library/tiny:q8", [*others, *layers])
        done = here("import", f"ollama:{ollama_registry.host}/library/tiny:q8")
        assert done.code == 0, done.err
        return {"notes": done.err, "recipe": yaml.safe_load(done.out)["prompt_template"], "text": done.out}

    assert printed(layer("template", CHATML))["recipe"] == {"named": "chatml"}
    told = printed(layer("template", b"Say: {{ .Prompt }}"))
    assert told["recipe"] == "inherit"
    assert "the model has no template in Jinja" in str(told["notes"])
    assert "#   Say: {{ .Prompt }}" in str(told["text"])


@pytest.mark.parametrize(("mode", "bits", "group_size"), [("affine", 4, 32), ("affine", 8, 64), ("mxfp4", 4, 32)])
def test_tensors_are_taken_as_they_are(
    here: CommandLine,
    ollama_registry: LocalOllamaRegistry,
    tiny_model: Path,
    tmp_path: Path,
    mode: str,
    bits: int,
    group_size: int,
) -> None:
    layers = tensor_layers(tiny_model, tmp_path, mode, bits, group_size)
    ollama_registry.publish("library/tiny:mlx", layers)
    named = f'base: {{ollama: "{ollama_registry.host}/library/tiny:mlx"}}\n'
    template = "prompt_template: {named: chatml}\n"
    assert built(here, f'name: tiny\nversion: "1.0"\n{named}{template}') == "tiny:keep@1.0"
    folder = here.folder / "same"
    folder.mkdir()
    weights: dict[str, mx.array] = {}
    for each in layers:
        if each.media_type.endswith(".json"):
            (folder / str(each.name)).write_bytes(each.content)
            continue
        (tmp_path / "part.safetensors").write_bytes(each.content)
        for name, array in mx.load(str(tmp_path / "part.safetensors")).items():  # type: ignore[union-attr]
            ours = name.replace(".weight.scale", ".scales").replace(".weight.bias", ".biases")
            weights[ours] = array
        mx.eval(weights)
    mx.save_safetensors(str(folder / "model.safetensors"), weights)
    config = json.loads((folder / "config.json").read_text())
    entry = {"mode": mode, "bits": bits, "group_size": group_size}
    (folder / "config.json").write_text(json.dumps(config | {"quantization": entry, "quantization_config": entry}))
    built(here, f'name: same\nversion: "1.0"\nbase: {{path: same}}\n{template}')
    assert shards(here, "tiny:keep") == shards(here, "same:keep")
    assert here("run", "tiny:keep", "ab", "--max-tokens", "2").code == 0


def test_mistakes_are_told(here: CommandLine, ollama_registry: LocalOllamaRegistry) -> None:
    refused = here("import", "ollama:a/b/c/d")
    assert (refused.code, "error[invalid-ollama-name]" in refused.err) == (2, True)
    refused = here("import", f"ollama:{ollama_registry.host}/library/none")
    assert refused.code == 2
    assert "https://ollama.com/library" in refused.err
    assert "leave --name out" in here("import", "ollama:x", "--name", "y").err
