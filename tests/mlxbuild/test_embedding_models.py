"""From a folder of an embedding model to vectors: recipe, create, and the same figures that transformers makes."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.home import Home
from mlxbuild.runtime.engine.input.preparation import OnlyEmbeds
from mlxbuild.runtime.loaded_model import LoadedModel
from tests.mlxbuild.conftest import CommandLine

REFERENCE = Path(__file__).parents[1] / "runtime" / "reference_models"
RECIPE = """\
name: tiny
version: "1.0"
base: {path: model}
variants:
  quantization: [none, {bits: 8, group_size: 32}]
tests:
  - contents: {require: [config.json, tokenizer.json], forbid: ["*.py"]}
"""
TYPE = "sentence_transformers.models."


def write_source(folder: Path, name: str, pooling: str = "mean_tokens") -> Path:
    """A reference model as sentence-transformers publishes one; its tokens are words `t0`, `t1`, ..."""
    model = shutil.copytree(REFERENCE / name, folder / "model")
    (model / "vectors.json").unlink()
    vocabulary = {f"t{number}": number for number in range(60) if number not in (2, 3)} | {"[CLS]": 2, "[SEP]": 3}
    tokenizer: Any = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="t4"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_special_tokens(["[CLS]", "[SEP]"])
    tokenizer.save(str(model / "tokenizer.json"))
    (model / "1_Pooling").mkdir()
    (model / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{pooling}": True}))
    kinds = ("Transformer", "Pooling", "Normalize")
    (model / "modules.json").write_text(json.dumps([{"type": TYPE + kind} for kind in kinds]))
    (folder / "ModelSpec.yaml").write_text(RECIPE)
    return model


@pytest.fixture
def builder(tmp_path: Path, home: Home) -> Callable[..., CommandLine]:
    """The program in a folder with a recipe and one of the reference models."""

    def make(name: str, pooling: str = "mean_tokens") -> CommandLine:
        folder = tmp_path / "recipe"
        folder.mkdir()
        write_source(folder, name, pooling)
        return CommandLine(folder, home)

    return make


def opened(mlxbuild: CommandLine, name: str) -> LoadedModel:
    digest = json.loads(mlxbuild("show", name, "--json").out)["digest"]
    return LoadedModel.open(mlxbuild.store, Digest.parse(digest))


def cosine(one: Any, other: Any) -> float:
    product = sum(a * b for a, b in zip(one, other, strict=True))
    return float(product / (math.hypot(*one) * math.hypot(*other)))


@pytest.mark.parametrize(
    ("name", "switch", "pooling"),
    [
        ("bert", "mean_tokens", "mean"),
        ("xlm-roberta", "cls_token", "cls"),
        ("modernbert", "mean_tokens", "mean"),
        ("qwen3", "lasttoken", "last"),
    ],
)
def test_an_embedding_model_is_built_and_embeds(
    builder: Callable[..., CommandLine], name: str, switch: str, pooling: str
) -> None:
    mlxbuild = builder(name, switch)
    done = mlxbuild("create", "--progress", "none")
    assert done.code == 0, done.err
    reference = json.loads((REFERENCE / name / "vectors.json").read_text())
    texts = [" ".join(f"t{token}" for token in row[1:-1]) for row in reference["rows"]]
    (whole, coarse) = (line.split()[0] for line in done.out.splitlines())
    model = opened(mlxbuild, whole)
    assert model.facts.capabilities == ("embedding",)
    assert model.facts.embedding is not None
    assert model.facts.embedding.pooling == pooling
    found = model.embed(texts)
    assert found.prompt_tokens == sum(map(len, reference["rows"]))
    for vector, expected in zip(found.vectors, reference[pooling], strict=True):
        assert math.hypot(*vector) == pytest.approx(1, abs=1e-5)
        assert cosine(vector, expected) == pytest.approx(1, abs=1e-6)
    assert model.embed([]).vectors == ()
    for vector, expected in zip(opened(mlxbuild, coarse).embed(texts).vectors, found.vectors, strict=True):
        assert cosine(vector, expected) > 0.98
    if name != "qwen3":
        with pytest.raises(OnlyEmbeds):
            model.generate("t5")
    shards = [file["path"] for file in json.loads(mlxbuild("show", whole, "--json").out)["files"]]
    assert sum(path.endswith(".safetensors") for path in shards) >= 3
    model.close()


def test_what_is_built_on_an_embedding_model_embeds_alike(builder: Callable[..., CommandLine]) -> None:
    mlxbuild = builder("bert", "cls_token")
    assert mlxbuild("create", "--progress", "none").code == 0
    files = {file["path"] for file in json.loads(mlxbuild("show", "tiny:none", "--json").out)["files"]}
    assert {"modules.json", "1_Pooling/config.json"} <= files
    recipe = 'name: next\nversion: "1.0"\nbase: {from: "tiny:none"}\n'
    (mlxbuild.folder / "ModelSpec.yaml").write_text(recipe)
    (mlxbuild.folder / "ModelSpec.lock").unlink()
    done = mlxbuild("create", "--progress", "none")
    assert done.code == 0, done.err
    first, second = opened(mlxbuild, "tiny:none"), opened(mlxbuild, "next:none")
    assert second.facts.embedding == first.facts.embedding
    assert second.embed(["t5 t6"]) == first.embed(["t5 t6"])
    (mlxbuild.folder / "ModelSpec.yaml").write_text(recipe + "pooling: mean\n")
    assert mlxbuild("create", "--progress", "none").code == 0
    third = opened(mlxbuild, "next:none")
    assert third.facts.embedding is not None
    assert third.facts.embedding.pooling == "mean"


def test_a_pooling_that_a_recipe_set_holds_for_what_is_built_on_it(builder: Callable[..., CommandLine]) -> None:
    """Against the model's own files, and where it has none."""
    mlxbuild = builder("bert", "cls_token")
    (mlxbuild.folder / "ModelSpec.yaml").write_text(RECIPE + "pooling: mean\n")
    assert mlxbuild("create", "--progress", "none").code == 0
    shutil.rmtree(mlxbuild.folder / "model")
    for name, base in (("next", "tiny:none"), ("last", "next:none")):
        recipe = f'name: {name}\nversion: "1.0"\nbase: {{from: "{base}"}}\n'
        (mlxbuild.folder / "ModelSpec.yaml").write_text(recipe)
        (mlxbuild.folder / "ModelSpec.lock").unlink()
        assert mlxbuild("create", "--progress", "none").code == 0
    first, last = opened(mlxbuild, "tiny:none"), opened(mlxbuild, "last:none")
    assert last.facts.embedding == first.facts.embedding
    assert last.facts.embedding is not None
    assert last.facts.embedding.pooling == "mean"
    assert last.embed(["t5 t6"]) == first.embed(["t5 t6"])


def _without_head(model: Path) -> None:
    """As many embedding models are published: the body of an untied decoder."""
    path = model / "config.json"
    body = {"architectures": ["Qwen3Model"], "tie_word_embeddings": False}
    path.write_text(json.dumps({**json.loads(path.read_text()), **body}))


def test_a_decoder_without_a_head_embeds_and_writes_nothing(builder: Callable[..., CommandLine]) -> None:
    mlxbuild = builder("qwen3", "lasttoken")
    _without_head(mlxbuild.folder / "model")
    done = mlxbuild("create", "--progress", "none")
    assert done.code == 0, done.err
    reference = json.loads((REFERENCE / "qwen3" / "vectors.json").read_text())
    texts = [" ".join(f"t{token}" for token in row[1:-1]) for row in reference["rows"]]
    for variant in (line.split()[0] for line in done.out.splitlines()):
        model = opened(mlxbuild, variant)
        for vector, expected in zip(model.embed(texts).vectors, reference["last"], strict=True):
            assert cosine(vector, expected) > (1 - 1e-6 if "none" in variant else 0.98)
        with pytest.raises(OnlyEmbeds):
            model.generate("t5")
        with pytest.raises(OnlyEmbeds):
            model.perplexity("t5 t6 t7")
        model.close()
    recipe = 'name: next\nversion: "1.0"\nbase: {from: "tiny:none"}\n'
    (mlxbuild.folder / "ModelSpec.yaml").write_text(recipe)
    (mlxbuild.folder / "ModelSpec.lock").unlink()
    assert mlxbuild("create", "--progress", "none").code == 0
    assert opened(mlxbuild, "next:none").facts.embedding == opened(mlxbuild, "tiny:none").facts.embedding


def test_a_decoder_without_a_head_that_is_to_write_is_refused(builder: Callable[..., CommandLine]) -> None:
    mlxbuild = builder("qwen3")
    model = mlxbuild.folder / "model"
    _without_head(model)
    (model / "modules.json").unlink()
    shutil.rmtree(model / "1_Pooling")
    (mlxbuild.folder / "ModelSpec.yaml").write_text(RECIPE.split("tests:")[0])
    done = mlxbuild("create", "--progress", "none")
    assert (done.code, "the weights lack `lm_head.weight`, so the model cannot generate text" in done.err) == (
        3,
        True,
    ), done.err
    (mlxbuild.folder / "ModelSpec.yaml").write_text(RECIPE + "pooling: last\n")
    assert mlxbuild("create", "--progress", "none").code == 0


def test_a_recipe_for_an_embedding_model_begins_with_init(builder: Callable[..., CommandLine]) -> None:
    mlxbuild = builder("bert")
    (mlxbuild.folder / "ModelSpec.yaml").unlink()
    done = mlxbuild("init", "model")
    assert done.code == 0, done.err
    assert "template" not in done.out
    assert "# pooling: mean" in done.out
    (mlxbuild.folder / "ModelSpec.yaml").write_text(done.out)
    assert mlxbuild("lint").code == 0
    assert mlxbuild("create", "--progress", "none").code == 0


def test_gates_of_models_that_write_do_not_hold(builder: Callable[..., CommandLine]) -> None:
    mlxbuild = builder("bert")
    recipe = RECIPE + "  - perplexity: {dataset: eval.txt, max: 9}\n  - complete: {prompt: t5, expect: {contains: t}}\n"
    (mlxbuild.folder / "ModelSpec.yaml").write_text(recipe)
    (mlxbuild.folder / "eval.txt").write_text("t5 t6 t7")
    done = mlxbuild("create", "--progress", "none")
    assert done.code == 4
    assert "error[only-embeds]: a model that only turns texts into vectors has no perplexity" in done.err
    assert "error[only-embeds]: the model only turns texts into vectors" in done.err
    assert mlxbuild("list", "--json").out == "[]\n"


def _another_pooling(model: Path) -> None:
    (model / "1_Pooling" / "config.json").write_text('{"pooling_mode_max_tokens": true}')


def _more_modules(model: Path) -> None:
    (model / "modules.json").write_text(json.dumps([{"type": TYPE + "Dense"}]))


def _no_json(model: Path) -> None:
    (model / "modules.json").write_text("[")


def _other_positions(model: Path) -> None:
    path = model / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "position_embedding_type": "relative_key"}))


def _other_shape(model: Path) -> None:
    path = model / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "hidden_size": 32}))


CASES: dict[str, tuple[Callable[[Path], None], int, list[str]]] = {
    "another-pooling": (
        _another_pooling,
        2,
        [
            "error[unknown-pooling]: the model's pooling is pooling_mode_max_tokens",
            "  --> 1_Pooling/config.json",
            "hint: mean, cls and last are supported; set one of them as the recipe's `pooling` if it fits",
        ],
    ),
    "more-modules": (
        _more_modules,
        2,
        ["error[unknown-pooling]: the model's embeddings go through a module `Dense`", "  --> modules.json"],
    ),
    "no-json": (
        _no_json,
        2,
        [
            "error[unreadable-configuration]: modules.json is not JSON: Expecting value: line 1 column 2 (char 1)",
            "  --> modules.json",
        ],
    ),
    "other-positions": (
        _other_positions,
        3,
        [
            "error[unusable-model]: mlx-lm cannot make a `bert` model of this configuration: ValueError: "
            "position_embedding_type `relative_key` is not known",
            "  --> config.json",
            "hint: is config.json complete, and made for this architecture?",
        ],
    ),
    "other-shape": (
        _other_shape,
        3,
        [
            "error[unusable-model]: `embeddings.word_embeddings.weight` has shape [60, 16], but config.json means "
            "[60, 32]",
            "  --> BLOCK",
            "hint: does config.json belong to these weights?",
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_embedding_model_is_told_exactly(builder: Callable[..., CommandLine], case: str) -> None:
    mlxbuild = builder("bert")
    spoil, code, expected = CASES[case]
    spoil(mlxbuild.folder / "model")
    done = mlxbuild("create", "--progress", "none")
    told = [line for line in done.err.splitlines() if not line.startswith("writing ")]
    assert [re.sub(r" and \d more", "", re.sub(r"tiny:\S+", "BLOCK", line)) for line in told] == expected
    assert done.code == code
    assert mlxbuild("list", "--json").out == "[]\n"
