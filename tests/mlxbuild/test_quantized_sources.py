"""Folders that another tool has quantized, from `init` to an answer, and how close their weights are said to be."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import mlx.core as mx

from tests.mlxbuild.conftest import CommandLine
from tests.toolchain.weights.packed_models import fp8, gptq, nvfp4_of_normal, write_packed

GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 64, "sym": False, "desc_act": False}


def _packed(folder: Path) -> None:
    """The recipe's model, with the weights of a GPTQ checkpoint."""
    for file in (*folder.glob("*.safetensors"), *folder.glob("*.index.json")):
        file.unlink()
    write_packed(folder, "llama", gptq(4, 64, symmetric=False), GPTQ, dtype=mx.float16)


def _recipe(mlxbuild: CommandLine, *lines: str) -> None:
    recipe = "\n".join(("name: tiny", 'version: "1.0"', "base: {path: model}", *lines, ""))
    (mlxbuild.folder / "ModelSpec.yaml").write_text(recipe)


def test_a_gptq_folder_is_kept_answers_and_says_how_close_it_is(mlxbuild: CommandLine) -> None:
    _packed(mlxbuild.folder / "model")
    written = mlxbuild("init", "./model")
    assert "\nquantization: keep\n" in written.out
    _recipe(mlxbuild)
    done = mlxbuild("create", "--executor", "process")
    assert done.code == 0, done.err
    assert done.out.startswith("tiny:keep@1.0 sha256:")
    assert mlxbuild("create", "--expect-cached").code == 0
    shown = mlxbuild("show", "tiny:keep").out
    assert "  against its source: 21 exact of 21 tensors\n" in shown
    assert "  quantization: keep (int4, groups of 64)\n" in shown
    assert "  computes in: float32, and keeps keys and values in it\n" in shown
    accuracy = json.loads(mlxbuild("show", "tiny:keep", "--json").out)["accuracy"]
    assert "model.layers.2.mlp.down_proj.weight" in accuracy["exact"]
    assert mlxbuild("run", "tiny:keep", "ab", "--max-tokens", "3").code == 0
    assert mlxbuild("verify", "tiny:keep", "--rebuild").code == 0
    mlxbuild("keygen", "mine")
    assert mlxbuild("sign", "tiny:keep", "--key", "mine").code == 0
    assert mlxbuild("verify", "tiny:keep", "--key", "mine", "--offline").code == 0
    told = json.loads(mlxbuild("evidence", "tiny:keep", "--show", "provenance", "--json").out)
    assert accuracy == told["buildDefinition"]["internalParameters"]["accuracy"]


def test_an_artifact_of_kept_weights_passes_on_how_close_they_are(mlxbuild: CommandLine, tmp_path: Path) -> None:
    _packed(mlxbuild.folder / "model")
    _recipe(mlxbuild, "dtype: float16")
    assert mlxbuild("create").code == 0
    assert "  against its source: 21 near of 21 tensors" in mlxbuild("show", "tiny:keep").out
    child = CommandLine(tmp_path / "child", mlxbuild.home)
    child.folder.mkdir()
    (child.folder / "ModelSpec.yaml").write_text('name: child\nversion: "1.0"\nbase: {from: "tiny:keep"}\n')
    assert child("create").code == 0
    assert "  against its source: 21 near of 21 tensors" in child("show", "child:keep").out


def test_fp8_becomes_bfloat16_or_is_quantized(mlxbuild: CommandLine) -> None:
    model = mlxbuild.folder / "model"
    for file in (*model.glob("*.safetensors"), *model.glob("*.index.json")):
        file.unlink()
    pack = fp8(lambda rows, columns: (-(-rows // 128), -(-columns // 128)), "weight_scale_inv")
    write_packed(model, "llama", pack, {"quant_method": "fp8", "weight_block_size": [128, 128]})
    _recipe(mlxbuild, "variants: {quantization: [none, int8]}")
    done = mlxbuild("create")
    assert done.code == 0, done.err
    assert "`tiny:int8@1.0` rounds weights that are quantized already a second time" in done.err
    assert "`tiny:none@1.0` rounds" not in done.err
    assert "  against its source: 21 near of 21 tensors" in mlxbuild("show", "tiny:none").out
    assert "  against its source: 21 rounded of 21 tensors" in mlxbuild("show", "tiny:int8").out


def test_nvfp4_tells_what_folding_its_scales_cost(mlxbuild: CommandLine) -> None:
    model = mlxbuild.folder / "model"
    for file in (*model.glob("*.safetensors"), *model.glob("*.index.json")):
        file.unlink()
    write_packed(model, "llama", nvfp4_of_normal(0.02), {"quant_method": "modelopt", "quant_algo": "NVFP4"})
    _recipe(mlxbuild)
    done = mlxbuild("create")
    assert done.code == 0, done.err
    cost = (
        r"folding the scales of 21 tensors costs 6\.\d% of one on average, and at most [67]\.\d% \(model\.layers\.\S+\)"
    )
    assert re.search(rf"warning: .*{cost}, relative root mean square; `quantization: bf16`", done.err), done.err
    assert re.search(rf"against its source: 21 rounded of 21 tensors; {cost}", mlxbuild("show", "tiny:keep").out)


def test_what_cannot_be_taken_over_is_refused_by_the_plan(mlxbuild: CommandLine) -> None:
    config = mlxbuild.folder / "model" / "config.json"
    _packed(mlxbuild.folder / "model")
    settings = json.loads(config.read_text())
    settings["quantization_config"] = {"quant_method": "hqq"}
    config.write_text(json.dumps(settings))
    _recipe(mlxbuild)
    for command in ("plan", "create"):
        done = mlxbuild(command)
        assert done.code == 2
        assert "error[unsupported-quantization]: the weights are quantized by `hqq`" in done.err
        assert "--> model/config.json" in done.err
    assert not mlxbuild.store.tags.items()


def test_a_folder_of_an_older_mlx_lm_is_built_as_init_says(mlxbuild: CommandLine, tmp_path: Path) -> None:
    """It named no mode, and `true` for layers that are as all others."""
    mlxbuild.built()
    model = mlxbuild.folder / "model"
    for file in (*model.glob("*.safetensors"), *model.glob("*.index.json")):
        file.unlink()
    assert mlxbuild("export", "tiny:int4", str(tmp_path / "exported")).code == 0
    for file in (tmp_path / "exported").glob("*.safetensors"):
        shutil.copy(file, model)
    settings = json.loads((tmp_path / "exported" / "config.json").read_text())
    del settings["quantization"]["mode"], settings["quantization_config"]
    settings["quantization"]["model.layers.0.mlp.up_proj"] = True
    (model / "config.json").write_text(json.dumps(settings))
    (mlxbuild.folder / "ModelSpec.yaml").write_text(mlxbuild("init", "./model").out)
    done = mlxbuild("create")
    assert done.code == 0, done.err
    assert done.out.startswith("model:keep@1.0 sha256:")
    assert "mlx-affine-4bit-g64" in mlxbuild("show", "model:keep", "--json").out


def test_a_test_that_would_load_the_base_is_refused(mlxbuild: CommandLine) -> None:
    _packed(mlxbuild.folder / "model")
    (mlxbuild.folder / "text.txt").write_text("ab" * 40)
    _recipe(mlxbuild, "tests:", "  - perplexity: {dataset: text.txt, max_increase_vs_base: 5%}")
    done = mlxbuild("plan")
    assert done.code == 2
    assert "compares with the base, which another tool has quantized" in done.err
