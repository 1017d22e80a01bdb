"""`mlxbuild diff` as a person uses it: what is told after each kind of change, and the exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from mlxbuild.registry.core.digest import Digest
from tests.mlxbuild.conftest import CommandLine

Edit = Callable[[str, str], None]


def compared(mlxbuild: CommandLine, one: str, other: str, *words: str) -> dict[str, Any]:
    done = mlxbuild("diff", one, other, "--json", *words)
    assert done.code in (0, 1), done.err
    found: dict[str, Any] = json.loads(done.out)
    assert done.code == (0 if found["equal"] else 1)
    return found


def test_an_artifact_does_not_differ_from_itself(mlxbuild: CommandLine) -> None:
    digest = mlxbuild.built()
    done = mlxbuild("diff", "tiny:int4", digest)
    assert (done.code, done.out, done.err) == (0, f"both are {digest}\n", "")


def test_two_precisions_differ_in_every_quantized_tensor(mlxbuild: CommandLine) -> None:
    mlxbuild.built()
    found = compared(mlxbuild, "tiny:int4", "tiny:none")
    assert list(found["tensors"]) == ["embeddings", "000", "001", "002", "head"]
    first = {it["name"]: it for it in found["tensors"]["000"]}
    weight = first["model.layers.0.mlp.down_proj.weight"]
    assert (weight["kind"], weight["before"]["bits"], weight["after"]["dtype"]) == ("precision", 4, "BF16")
    assert 0 < weight["largest_difference"] < 1
    assert "model.layers.0.input_layernorm.weight" not in first, "what is not quantized is the same"
    assert {change["path"] for change in found["recipe"]} >= {"variant", "quantization.label"}
    text = mlxbuild("diff", "tiny:int4", "tiny:none", "--tensors")
    assert text.code == 1
    assert "affine 4 bits by 64 (BF16) -> BF16, largest difference" in text.out
    assert "quantization.label" in text.out
    assert "  000: 7 of another precision; largest difference" in text.out


def test_a_new_template_leaves_the_weights_alone(mlxbuild: CommandLine, edit: Edit) -> None:
    before = mlxbuild.built()
    edit("base:", 'prompt_template: {inline: "{{ messages[0].content }}!"}\nbase:')
    edit("Be brief.", "Be kind.")
    after = mlxbuild.built()
    for file in json.loads(mlxbuild("show", before, "--json").out)["files"]:
        if file["role"] == "weight":  # those that both hold are not even opened
            path = mlxbuild.store.path(Digest.parse(file["digest"]))
            path.chmod(0o644)
            path.write_bytes(bytes(file["size"]))
    found = compared(mlxbuild, before, after)
    assert found["tensors"] == {}
    assert found["same_weights"]["files"] == 5
    assert "+{{ messages[0].content }}!" in found["template"]
    assert any(change["after"] == "Be kind." for change in found["defaults"])
    text = mlxbuild("diff", before, after).out
    assert "+{{ messages[0].content }}!" in text
    assert "no tensor differs (5 files are the same" in text


def test_one_other_layer_is_one_block(mlxbuild: CommandLine, edit: Edit) -> None:
    before = mlxbuild.built()
    edit("variants:\n  quantization: [int4, none]", 'quantization: {bits: 4, overrides: {"model.layers.1.*": int8}}')
    done = mlxbuild("create")
    assert done.code == 0, done.err
    found = compared(mlxbuild, before, done.out.split()[1])
    assert list(found["tensors"]) == ["001"]
    assert {(it["before"]["bits"], it["after"]["bits"]) for it in found["tensors"]["001"]} == {(4, 8)}
    assert found["same_weights"]["files"] == 4
    unmeasured = compared(mlxbuild, before, done.out.split()[1], "--no-values")
    assert all("largest_difference" not in it for it in unmeasured["tensors"]["001"])


def test_another_base_shows_in_lock_tokenizer_and_values(mlxbuild: CommandLine) -> None:
    before = mlxbuild.built()
    model = mlxbuild.folder / "model"
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    tokenizer["added_tokens"].append({**tokenizer["added_tokens"][0], "id": 95, "content": "<|new|>"})
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    after = mlxbuild.built()
    found = compared(mlxbuild, before, after)
    assert found["tokenizer"]["added"] == ["<|new|>"]
    assert any("tokenizer.json" in change["path"] for change in found["lock"])
    assert found["tensors"] == {}


def test_archives_are_compared_where_they_lie(mlxbuild: CommandLine) -> None:
    mlxbuild.built()
    assert mlxbuild("pack", "tiny:none", "-o", "none.tar").code == 0
    inside, outside = compared(mlxbuild, "tiny:int4", "tiny:none"), compared(mlxbuild, "tiny:int4", "none.tar")
    assert inside["tensors"] == outside["tensors"]
    assert compared(mlxbuild, "tiny:none", "none.tar", "--offline")["equal"]


def test_evidence_that_only_one_has_is_told(mlxbuild: CommandLine) -> None:
    mlxbuild.built()
    assert mlxbuild("keygen", "mine").code == 0
    signed = mlxbuild("sign", "tiny:int4", "--key", "mine")
    assert signed.code == 0, signed.err
    evidence = {change["path"]: change for change in compared(mlxbuild, "tiny:int4", "tiny:none")["evidence"]}
    assert evidence["https://sigstore.dev/cosign/sign/v1"] == {
        "path": "https://sigstore.dev/cosign/sign/v1",
        "before": 1,
    }
    assert "- https://sigstore.dev/cosign/sign/v1: 1" in mlxbuild("diff", "tiny:int4", "tiny:none").out
    packed = mlxbuild("pack", "tiny:int4", "-o", "signed.tar")
    assert "referrers" in packed.out
    assert not compared(mlxbuild, "signed.tar", "tiny:none")["equal"]


def test_a_damaged_artifact_is_told(mlxbuild: CommandLine) -> None:
    digest = mlxbuild.built()
    (config,) = (
        it for it in json.loads(mlxbuild("show", digest, "--json").out)["files"] if it["path"] == "config.json"
    )
    path = mlxbuild.store.path(Digest.parse(config["digest"]))
    path.chmod(0o644)
    path.write_bytes(bytes(config["size"]))
    refused = mlxbuild("diff", digest, "tiny:none")
    assert (refused.code, "blob-corrupt" in refused.err) == (10, True)


def test_mistakes_are_told(mlxbuild: CommandLine) -> None:
    refused = mlxbuild("diff", "missing", "missing")
    assert (refused.code, "unknown-reference" in refused.err) == (2, True)
