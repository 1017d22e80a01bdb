"""A GGUF file as a person uses it: planned, built, shown, compared with its artifact, changed."""

from __future__ import annotations

import json
from pathlib import Path

from mlxbuild.registry.core.home import Home
from tests.mlxbuild.conftest import CommandLine
from tests.toolchain.sources.gguf.tiny_gguf import LAYERS, matrices, norms, tiny_gguf

RECIPE = 'name: tiny\nversion: "1.0"\nbase: {gguf: tiny.gguf}\n'
TENSORS = len(matrices()) + len(norms())


def test_a_gguf_file_from_recipe_to_proof(tmp_path: Path, home: Home) -> None:
    folder = tmp_path / "recipe"
    folder.mkdir()
    (folder / "ModelSpec.yaml").write_text(RECIPE)
    tiny_gguf(folder / "tiny.gguf", ["Q4_K", "Q8_0", "Q6_K"])
    mlxbuild = CommandLine(folder, home)
    planned = json.loads(mlxbuild("plan", "--json").out)["actions"]
    assert {action["label"] for action in planned if action["step"] == "convert"} == {
        f"tiny:keep/convert/{block}" for block in ("embeddings", *(f"{layer:03}" for layer in range(LAYERS)), "head")
    }
    derived = {action["reason"] for action in planned if action["label"] == "fetch/tokenizer.json"}
    assert derived == {"derived from the header of tiny.gguf"}
    created = mlxbuild("create", "--executor", "process")
    assert created.code == 0, created.err
    assert "hint: its steps are `convert`, " in mlxbuild("why", "tiny", "quantize").err
    shown = mlxbuild("show", "tiny").out
    assert f"  against its source: {TENSORS - 5} exact, 5 near of {TENSORS} tensors\n" in shown
    assert "  computes in: float32, and keeps keys and values in it\n" in shown
    assert "  quantization: keep (int8, groups of 32; others for 5 modules)\n" in shown
    compared = mlxbuild("verify", "tiny", "--against-source")
    assert compared.code == 0, compared.err
    told = f"{TENSORS} tensors compared with tiny.gguf: {TENSORS - 5} exact (largest difference 0), 5 near (largest "
    assert told in compared.out
    document = json.loads(mlxbuild("verify", "tiny", "--against-source", "--json").out)["against_source"]
    assert document["counts"] == {"exact": TENSORS - 5, "near": 5, "rounded": 0}
    assert document["largest_difference"]["exact"] == 0
    tiny_gguf(folder / "tiny.gguf", ["Q4_0"])
    changed = mlxbuild("verify", "tiny", "--against-source")
    assert changed.code == 7
    assert "`tiny.gguf` in `.` is not what the lock says" in changed.err
