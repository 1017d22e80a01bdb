"""Which files of a source are taken and refused."""

from __future__ import annotations

import pytest

from mlxbuild.registry.artifact.files import UnsafePath
from mlxbuild.toolchain.sources.errors import PickledWeights, SourceIncomplete
from mlxbuild.toolchain.sources.selection import matches, select

_MODEL = ["config.json", "model.safetensors"]


def _select(paths: list[str], role: str = "base", include: tuple[str, ...] = ()) -> tuple[str, ...]:
    return select(paths, role=role, include=include, where="somewhere")


def test_a_base_gives_weights_and_what_stands_beside_them() -> None:
    beside = [
        "LICENSE", "LICENSE.txt", "added_tokens.json", "additional_chat_templates/rag.jinja", "chat_template.jinja",
        "config.json", "generation_config.json", "merges.txt", "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors", "model.safetensors.index.json", "qwen.tiktoken", "tokenizer.json",
        "tokenizer.model", "vocab.json",
    ]  # fmt: skip
    others = [
        ".gitattributes", "README.md", "consolidated.safetensors", "figures/a.png", "model.py", "modeling_acme.py",
        "original/config.json", "original/consolidated.00.pth", "pytorch_model.bin", "training_args.bin",
        "onnx/model.onnx", "model.gguf", "assets/x.jinja", "adapter.safetensors.index.json",
    ]  # fmt: skip
    assert _select([*others, *beside]) == tuple(sorted(beside))


def test_weights_of_another_name_are_taken_when_there_are_no_model_files() -> None:
    assert _select(["config.json", "weights.safetensors", "consolidated.safetensors"]) == (
        "config.json",
        "weights.safetensors",
    )


def test_a_tokenizer_gives_no_weights() -> None:
    paths = [*_MODEL, "model.safetensors.index.json", "tokenizer.json"]
    assert _select(paths, "tokenizer") == ("config.json", "tokenizer.json")


def test_an_adapter_gives_its_final_weights_only() -> None:
    paths = ["adapters.safetensors", "0000100_adapters.safetensors", "adapter_config.json", "log.json"]
    assert _select(paths, "adapter.0") == ("adapter_config.json", "adapters.safetensors")
    paths = ["adapter_model.safetensors", "adapter_config.json", "tokenizer.json"]
    assert _select(paths, "adapter.12") == ("adapter_config.json", "adapter_model.safetensors")


def test_include_replaces_the_default_list_but_never_takes_code_or_pickles() -> None:
    paths = [*_MODEL, "fp16/model.safetensors", "fp16/run.py", "fp16/model.bin", "README.md"]
    assert _select(paths, include=("config.json", "fp16/*")) == ("config.json", "fp16/model.safetensors")
    assert _select(paths, include=("*",)) == ("README.md", "config.json", "model.safetensors")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.PTH", "x.ckpt", "weights.npz", "a.pkl"])
def test_pickled_weights_alone_are_refused(name: str) -> None:
    with pytest.raises(PickledWeights) as caught:
        _select(["config.json", name])
    assert "pickled weights" in caught.value.message
    assert name in caught.value.message
    assert "safetensors" in str(caught.value.hint)


def test_a_source_without_weights_or_config_is_incomplete() -> None:
    with pytest.raises(SourceIncomplete, match="no safetensors"):
        _select(["config.json", "tokenizer.json"])
    with pytest.raises(SourceIncomplete, match=r"config\.json"):
        _select(["model.safetensors"])
    with pytest.raises(SourceIncomplete) as caught:
        _select(["adapter_model.safetensors", "adapter_config.json"])
    assert "name it below `adapters`" in str(caught.value.hint)
    with pytest.raises(SourceIncomplete, match=r"adapter_config\.json"):
        _select(["adapters.safetensors"], "adapter.0")


@pytest.mark.parametrize(
    "path",
    ["../x.json", "/etc/x.json", "a/../../x.json", "./x.json", "a//x.json", "a\\b.json", "C:x.json", "x\n.json"],
)
def test_paths_that_leave_their_folder_are_refused(path: str) -> None:
    with pytest.raises(UnsafePath):
        _select([*_MODEL, path])


@pytest.mark.parametrize("pair", [("Vocab.json", "vocab.json"), ("\u00e9.json", "e\u0301.json"), ("ß.txt", "ss.txt")])
def test_paths_that_collide_are_refused_when_both_are_taken(pair: tuple[str, str]) -> None:
    with pytest.raises(UnsafePath, match="one file"):
        _select([*_MODEL, *pair])
    assert pair[0] in _select([*_MODEL, *pair], include=("config.json", "model.safetensors", pair[0]))


def test_names_that_nobody_takes_do_not_matter() -> None:
    assert _select([*_MODEL, "Readme.md", "README.md", "odd\tname.png", "a:b.png"]) == tuple(_MODEL)


def test_a_star_stays_within_one_folder() -> None:
    assert matches("a.json", "*.json")
    assert matches("x/a.json", "x/*.json")
    assert not matches("x/a.json", "*.json")
    assert not matches("x/y/a.json", "x/*")
