"""The line from recipe to artifact, as a person walks it: create, look, change something, create again."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mlxbuild.registry.artifact.reader import Artifact
from mlxbuild.registry.core.digest import Digest
from mlxbuild.registry.core.reference import Reference
from mlxbuild.toolchain.weights.safetensors import read_file_header
from tests.mlxbuild.conftest import CommandLine

BLOCKS = ("000", "001", "002", "embeddings", "head")


def test_create_builds_every_variant_and_names_it(mlxbuild: CommandLine) -> None:
    done = mlxbuild("create")
    assert done.code == 0, done.err
    names = [line.split()[0] for line in done.out.splitlines()]
    assert names == ["tiny:int4@1.0", "tiny:none@1.0"]
    listed = {row["name"]: row["aliases"] for row in json.loads(mlxbuild("list", "--json").out)}
    assert listed == {"tiny:int4": ["tiny:1.0", "tiny:int4-1.0", "tiny:latest"], "tiny:none": ["tiny:none-1.0"]}
    assert (mlxbuild.folder / "ModelSpec.lock").exists()


def test_a_second_create_runs_nothing_and_loads_nothing_heavy(mlxbuild: CommandLine) -> None:
    first = mlxbuild.built()
    assert mlxbuild.ran("--expect-cached") == []
    assert mlxbuild.built() == first


def test_expect_cached_names_what_ran(mlxbuild: CommandLine) -> None:
    done = mlxbuild("create", "--expect-cached")
    assert done.code == 8
    assert "actions ran" in done.err


def test_the_plan_tells_what_create_then_does(mlxbuild: CommandLine) -> None:
    planned = json.loads(mlxbuild("plan", "--json").out)
    assert not (mlxbuild.folder / "ModelSpec.lock").exists()
    to_run = {a["label"] for a in planned["actions"] if a["status"] in ("run", "unknown")}
    assert set(mlxbuild.ran()) | {"tiny:none/tokenizer", "tiny:none/template"} == to_run
    after = json.loads(mlxbuild("plan", "--json").out)
    assert after["done"]
    assert {a["status"] for a in after["actions"]} == {"hit", "unneeded"}


def test_a_new_template_touches_no_weights(mlxbuild: CommandLine, edit: Callable[[str, str], None]) -> None:
    mlxbuild.built()
    edit("system_prompt: Be brief.", "system_prompt: Be brief.\nprompt_template: {named: chatml}")
    assert mlxbuild.ran() == [
        *(f"tiny:int4/{step}" for step in ("gate/contents", "gate/size", "pack", "template")),
        *(f"tiny:none/{step}" for step in ("gate/contents", "gate/size", "pack")),
    ]


def test_other_bits_for_one_layer_run_that_block_alone(mlxbuild: CommandLine, edit: Callable[[str, str], None]) -> None:
    edit("variants:\n  quantization: [int4, none]\n", "quantization: int4\n")
    mlxbuild.built()
    overrides = 'quantization: {mode: affine, bits: 4, group_size: 64, overrides: {"model.layers.1.*": int8}}'
    edit("quantization: int4\n", f"{overrides}\nvariants: {{tag: int4}}\n")
    ran = mlxbuild.ran()
    assert [label for label in ran if "/quantize/" in label] == ["tiny:int4/quantize/001"]


def test_why_tells_which_input_changed(mlxbuild: CommandLine, edit: Callable[[str, str], None]) -> None:
    edit("[int4, none]", "[int4]")
    mlxbuild.built()
    edit("system_prompt: Be brief.", "system_prompt: Be long.")
    mlxbuild.ran()
    told = mlxbuild("why", "tiny:int4", "pack")
    assert "tiny:int4/pack\n  system_prompt: 'Be brief.' → 'Be long.'" in told.out
    assert "4 of 4" not in told.out
    assert list(json.loads(mlxbuild("why", "tiny", "--json").out))[-3:] == [
        "tiny:int4/pack",
        "tiny:int4/gate/contents",
        "tiny:int4/gate/size",
    ]
    assert mlxbuild("why", "tiny").out.startswith("tiny:int4/pack\n")
    unchanged = mlxbuild("why", "tiny:int4", "quantize")
    assert unchanged.out == "5 of 5 actions have had the same inputs since they were first built\n"


def test_why_tells_a_text_by_its_lines_and_names_fields_as_the_recipe_does(
    mlxbuild: CommandLine, edit: Callable[[str, str], None]
) -> None:
    edit("[int4, none]", "[int4]")
    edit("system_prompt: Be brief.", "system_prompt: |\n  Be brief.\n  Be kind.\ndefaults: {temperature: 0.5}")
    mlxbuild.built()
    edit("Be kind.", "Be exact.")
    edit("temperature: 0.5", "temperature: 1")
    edit("40MiB", "41MiB")
    short = "defaults.temperature: 0.5 → 1.0; system_prompt: 1 line removed, 1 added; and 1 more"
    assert short in mlxbuild("plan").out
    assert f"({short})" in mlxbuild("create").err
    assert re.sub("sha256:[0-9a-f]{12}", "sha256:…", mlxbuild("why", "tiny:int4").out) == (
        "tiny:int4/pack\n"
        "  defaults.temperature: 0.5 → 1.0\n"
        "  system_prompt: 1 line removed, 1 added\n"
        "    @@ -1,2 +1,2 @@\n"
        "     Be brief.\n"
        "    -Be kind.\n"
        "    +Be exact.\n"
        "  tests.size.max: 41943040 → 42991616\n"
        "tiny:int4/gate/contents\n"
        "  artifact: sha256:… → sha256:…\n"
        "tiny:int4/gate/size\n"
        "  tests.size.max: 41943040 → 42991616\n"
        "  artifact: sha256:… → sha256:…\n"
        "7 of 10 actions have had the same inputs since they were first built\n"
    )
    told = json.loads(mlxbuild("why", "tiny:int4", "pack", "--json").out)["tiny:int4/pack"]
    assert told[0] == {
        "path": "parameters.defaults.parameters.temperature",
        "old": "0.5",
        "new": "1.0",
        "field": "defaults.temperature",
        "old_value": 0.5,
        "new_value": 1.0,
    }


def test_why_of_something_never_built(mlxbuild: CommandLine, edit: Callable[[str, str], None]) -> None:
    edit("[int4, none]", "[int4]")
    mlxbuild.built()
    for words, said in {
        ("tiny:int9",): "`tiny:int9` was never built here\nhint: did you mean `tiny:int4`?\n",
        ("other",): "`other` was never built here\nhint: `mlxbuild list` lists what was built\n",
        ("tiny:int4", "quantise"): "`tiny:int4` has no action `quantise`\nhint: did you mean `quantize`?\n",
        ("tiny", "merge"): "`tiny` has no action `merge`\n"
        "hint: its steps are `quantize`, `tokenizer`, `template`, `pack`, `gate`\n",
    }.items():
        told = mlxbuild("why", *words)
        assert (told.code, told.err) == (2, f"error[never-built]: {said}")


def test_a_comment_or_another_folder_changes_no_digest(mlxbuild: CommandLine, edit: Callable[[str, str], None]) -> None:
    first = mlxbuild.built()
    edit("name: tiny", "# a comment\nname: tiny")
    moved = mlxbuild.folder.with_name("elsewhere")
    shutil.copytree(mlxbuild.folder, moved)
    assert CommandLine(moved, mlxbuild.home).built() == first


def test_the_digest_depends_on_neither_order_workers_home_nor_locale(mlxbuild: CommandLine, tmp_path: Path) -> None:
    first = mlxbuild.built()
    settings: list[tuple[list[str], dict[str, str]]] = [
        (["--shuffle", "7", "--jobs", "1"], {"LC_ALL": "C", "TZ": "Asia/Tokyo"}),
        (["--shuffle", "8", "--jobs", "4"], {"LANG": "de_DE.UTF-8", "PYTHONHASHSEED": "5"}),
        (["--executor", "process"], {"TZ": "America/New_York", "PYTHONHASHSEED": "6"}),
    ]
    for number, (words, environment) in enumerate(settings):
        done = mlxbuild("--home", str(tmp_path / f"home{number}"), "create", *words, env=environment)
        assert done.out.split()[1] == first, done.err


def test_verify_rebuild_proves_the_digest(mlxbuild: CommandLine) -> None:
    digest = mlxbuild.built()
    done = mlxbuild("verify", "tiny:int4", "--rebuild")
    assert done.code == 0, done.err
    assert f"{digest} was built again from recipe and lock" in done.out


def test_a_failing_gate_moves_no_tag(mlxbuild: CommandLine, edit: Callable[[str, str], None]) -> None:
    edit("size: {max: 40MiB}", "size: {max: 1KiB}")
    done = mlxbuild("create")
    assert done.code == 4
    assert "error[gate-failed]" in done.err
    assert json.loads(mlxbuild("list", "--json").out) == []
    assert done.out == ""  # nothing has those names
    assert "  (gates failed, no tag moved)\n" in done.err
    assert "hint: its tags did not move; inspect it by its digest: `mlxbuild show sha256:" in done.err
    digest = done.err.split("`mlxbuild show ")[1].split("`")[0]
    shown = mlxbuild("show", digest)
    assert shown.code == 0
    assert "tiny:int4@1.0" in shown.out
    for short in (digest[:19], digest[7:19]):
        assert mlxbuild("show", short).out == shown.out
    config = str(Artifact.open(mlxbuild.store, Digest.parse(digest)).manifest.config.blob.digest)
    unknown = mlxbuild("show", config[:19])
    assert unknown.code == 2
    assert f"no artifact, or more than one, has a digest that begins with `{config[:19]}`" in unknown.err


def test_the_gates_travel_with_the_artifact(mlxbuild: CommandLine, tmp_path: Path) -> None:
    mlxbuild.built()
    elsewhere = CommandLine(tmp_path, mlxbuild.home)
    done = elsewhere("test", "tiny:int4")
    assert done.code == 0, done.err
    assert done.out.count("pass  ") == 2


def test_several_recipes_share_work(mlxbuild: CommandLine) -> None:
    other = mlxbuild.folder / "other.yaml"
    other.write_text((mlxbuild.folder / "ModelSpec.yaml").read_text().replace("name: tiny", "name: other"))
    ran = mlxbuild.ran("-f", "ModelSpec.yaml", "-f", "other.yaml")
    assert len([label for label in ran if "/quantize/" in label]) == len(BLOCKS)


def test_two_recipes_of_one_name_are_refused(mlxbuild: CommandLine) -> None:
    (mlxbuild.folder / "other.yaml").write_text(
        (mlxbuild.folder / "ModelSpec.yaml").read_text().replace("Be brief.", "Be long.")
    )
    done = mlxbuild("create", "-f", "ModelSpec.yaml", "-f", "other.yaml")
    assert done.code == 2
    assert "two different actions are both called `tiny:int4/pack`" in done.err


def test_an_artifact_can_be_the_base_of_another(mlxbuild: CommandLine, tmp_path: Path) -> None:
    mlxbuild.built()
    child = tmp_path / "child"
    child.mkdir()
    (child / "ModelSpec.yaml").write_text(
        'name: child\nversion: "2.0"\nbase: {from: "tiny:none"}\nquantization: int8\n'
    )
    done = CommandLine(child, mlxbuild.home)("create")
    assert done.code == 0, done.err
    assert done.out.startswith("child:int8@2.0 sha256:")
    defaults = json.loads(mlxbuild("show", "child:int8", "--json").out)["defaults"]
    assert defaults["system_prompt"] == "Be brief."
    assert mlxbuild("verify", "child:int8").code == 0


def _child(mlxbuild: CommandLine, tmp_path: Path, *lines: str) -> CommandLine:
    child = tmp_path / "child"
    child.mkdir(exist_ok=True)
    text = "\n".join(('name: child\nversion: "2.0"\nbase: {from: "tiny:int4"}', *lines, ""))
    (child / "ModelSpec.yaml").write_text(text)
    return CommandLine(child, mlxbuild.home)


@pytest.mark.parametrize("written", [(), ("quantization: keep",)])
def test_what_is_built_of_quantized_weights_keeps_them_and_says_so(
    mlxbuild: CommandLine, tmp_path: Path, written: tuple[str, ...]
) -> None:
    mlxbuild.built()
    child = _child(mlxbuild, tmp_path, *written)
    planned = child("plan", "--json")
    assert planned.code == 0, planned.err
    assert "child:keep/pack" in planned.out
    done = child("create")
    assert done.out.startswith("child:keep@2.0 sha256:"), done.err
    assert "  quantization: keep (int4, groups of 64)\n" in child("show", "child:keep").out
    weights = {row["name"]: row["quantization"] for row in json.loads(child("list", "--json").out)}
    assert weights["child:keep"] == "keep (int4, groups of 64)"
    assert "child:none" not in weights
    assert child("create", "--expect-cached", "--variant", "keep").code == 0
    assert child("verify", "child:keep", "--rebuild").code == 0
    for name in ("tiny:int4", "child:keep"):
        assert child("export", name, str(tmp_path / name)).code == 0
    theirs, ours = (tmp_path / "tiny:int4", tmp_path / "child:keep")
    assert (ours / "config.json").read_bytes() == (theirs / "config.json").read_bytes()
    assert _tensors(ours) == _tensors(theirs)


def _tensors(folder: Path) -> dict[str, bytes]:
    found = {}
    for file in folder.glob("model*.safetensors"):
        with file.open("rb") as stream:
            for tensor in read_file_header(file):
                stream.seek(tensor.begin)
                found[f"{tensor.name} {tensor.dtype} {tensor.shape}"] = stream.read(tensor.size_bytes)
    return found


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("none", "`quantization: none` asks for unquantized weights, but the base is quantized"),
        ("fp16", "`quantization: fp16` asks for unquantized weights, but the base is quantized"),
        ("int8", "the weights of the base are quantized already; quantizing again would round them twice"),
    ],
)
def test_quantized_weights_are_not_called_otherwise(
    mlxbuild: CommandLine, tmp_path: Path, written: str, message: str
) -> None:
    mlxbuild.built()
    child = _child(mlxbuild, tmp_path, f"quantization: {written}")
    for again in (False, True):  # the second time the recipe is remembered
        done = child("create", "--progress", "none")
        assert (done.code, done.out) == (2, ""), again
        assert [
            line.replace(f"{child.folder}/", "") for line in done.err.splitlines() if not line.startswith("writing ")
        ] == [
            f"error[quantized-base]: {message}",
            "  --> ModelSpec.yaml:4:15",
            "hint: set `quantization: keep`, or name the unquantized base",
        ]


def test_lint_knows_of_quantized_weights_in_a_folder(mlxbuild: CommandLine, tmp_path: Path) -> None:
    mlxbuild.built()
    child = _child(mlxbuild, tmp_path)
    assert child("export", "tiny:int4", str(child.folder / "model")).code == 0
    recipe = child.folder / "ModelSpec.yaml"
    recipe.write_text('name: a\nversion: "1"\nbase: {path: model}\nvariants: {quantization: [keep, none]}\n')
    linted = child("lint", "--format", "text")
    assert (linted.code, linted.out) == (
        2,
        "error[spec-quantization]: `quantization: none` asks for unquantized weights, but the base is quantized\n"
        "  ┌─ ModelSpec.yaml:4:33\n"
        "4 │ variants: {quantization: [keep, none]}\n"
        "  │                                 ^^^^\n"
        "hint: set `quantization: keep`, or name the unquantized base\n",
    )
    recipe.write_text('name: a\nversion: "1"\nbase: {path: model}\n')
    assert child("lint").code == 0


def test_a_stale_lock_is_renewed_at_a_desk_and_refused_in_ci(mlxbuild: CommandLine) -> None:
    mlxbuild.built()
    template = mlxbuild.folder / "model" / "chat_template.jinja"
    template.write_text(template.read_text() + "\n")
    os.utime(template, (1, 1))
    refused = mlxbuild("create", env={"CI": "true"})
    assert refused.code == 7
    assert "`chat_template.jinja` in `model` changed" in refused.err
    assert mlxbuild("lock", "--check").code == 7
    renewed = mlxbuild("create")
    assert renewed.code == 0
    assert "renewing ModelSpec.lock: " in renewed.err


def test_a_version_of_other_bytes_is_warned_of_at_a_desk_and_refused_in_ci(mlxbuild: CommandLine) -> None:
    before = mlxbuild.built()
    recipe = mlxbuild.folder / "ModelSpec.yaml"
    recipe.write_text(recipe.read_text().replace("Be brief.", "Be long."))
    refused = mlxbuild("create", env={"CI": "true"})
    assert refused.code == 2
    assert "error[version-tag-moves]: `tiny:int4-1.0` is " + before in refused.err
    assert "--force" in refused.err
    names = ("tiny:int4-1.0", "tiny:int4", "tiny:1.0", "tiny:latest")
    assert {str(mlxbuild.store.tags.resolve(Reference.parse(name))) for name in names} == {before}
    warned = mlxbuild("create")
    assert warned.code == 0
    after = str(mlxbuild.store.tags.resolve(Reference.parse("tiny:int4-1.0")))
    old, new = before[:19], after[:19]
    assert f"`tiny:int4-1.0`, `tiny:1.0` move from {old} to {new}: give the recipe another version" in warned.err
    assert "`tiny:int4`" not in warned.err
    assert "from" not in mlxbuild("create").err
    assert f"warning: `tiny:1.0` moves from {new} to {old}: " in mlxbuild("cp", before, "tiny:1.0").err
    assert mlxbuild("create", "--force", env={"CI": "true"}).code == 0
    assert str(mlxbuild.store.tags.resolve(Reference.parse("tiny:1.0"))) == after
    mlxbuild("cp", before, "tiny:int4-1.0")
    quiet = mlxbuild("create", "--progress", "none").err
    assert quiet.startswith(f"warning: `tiny:int4-1.0` moves from {old} to {new}: ")
    assert quiet.count("\n") == 1


def test_graph_in_all_forms(mlxbuild: CommandLine) -> None:
    assert mlxbuild("graph").out.startswith("flowchart LR\n")
    assert 'tiny:int4/quantize" [label="tiny:int4/quantize × 5"]' in mlxbuild("graph", "--format", "dot").out
    nodes = json.loads(mlxbuild("graph", "--format", "json").out)["nodes"]
    assert {"tiny:int4/quantize/head", "tiny:none/pack"} <= {node["label"] for node in nodes}


def test_skopeo_reads_the_store_as_it_lies(mlxbuild: CommandLine, real_tool: Callable[[str], str]) -> None:
    import subprocess

    digest = mlxbuild.built()
    place = f"oci:{mlxbuild.home.store}:tiny:int4-1.0"
    raw = subprocess.run([real_tool("skopeo"), "inspect", "--raw", place], capture_output=True, check=True).stdout
    import hashlib

    assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == digest


def test_gc_frees_what_has_no_name_and_leaves_the_rest_cached(
    mlxbuild: CommandLine, edit: Callable[[str, str], None]
) -> None:
    mlxbuild.built()
    assert mlxbuild("rm", "tiny:none", "tiny:none-1.0").code == 0
    would = json.loads(mlxbuild("gc", "--dry-run", "--grace", "0", "--json").out)
    done = json.loads(mlxbuild("gc", "--grace", "0", "--json").out)
    assert done["freed_bytes"] == would["freed_bytes"] > 0
    edit("[int4, none]", "[int4]")
    assert mlxbuild.ran("--expect-cached") == []
    assert mlxbuild("verify", "tiny:int4").code == 0


def test_an_override_that_matches_nothing_is_a_mistake(mlxbuild: CommandLine, edit: Callable[[str, str], None]) -> None:
    overrides = 'quantization: {mode: affine, bits: 4, group_size: 64, overrides: {"model.layer.1.*": int8}}'
    edit("variants:\n  quantization: [int4, none]\n", f"{overrides}\n")
    linted = mlxbuild("lint")
    assert linted.code == 0
    assert "warning[spec-quantization]: the override `model.layer.1.*` matches no tensor of the base\n" in linted.out
    assert "hint: did you mean `model.layers.1.*`?\n" in linted.out
    noted = "warning: the override `model.layer.1.*` matches no tensor of the base; did you mean `model.layers.1.*`?\n"
    assert noted in mlxbuild("plan").err
    done = mlxbuild("create")
    assert done.code == 2
    assert noted in done.err
    assert "error[idle-override]: the override `model.layer.1.*` matches no module" in done.err
    assert "hint: modules are named like `model.layers." in done.err


def test_an_override_of_a_layer_after_the_last_is_refused_at_once(
    mlxbuild: CommandLine, edit: Callable[[str, str], None]
) -> None:
    overrides = 'quantization: {mode: affine, bits: 4, group_size: 64, overrides: {"model.layers.99.*": int8}}'
    edit("variants:\n  quantization: [int4, none]\n", f"{overrides}\n")
    told = "error[idle-override]: the override `model.layers.99.*` matches no tensor of the base\n"
    hint = "hint: did you mean `model.layers.2.*`?\n"
    linted = mlxbuild("lint")
    assert linted.code == 2
    assert told in linted.out
    assert hint in linted.out
    for command in ("plan", "create"):
        done = mlxbuild(command)
        assert (done.code, done.out) == (2, "")
        assert f"{told}  --> ModelSpec.yaml:6:15\n{hint}" in done.err


def test_a_lock_that_is_missing_is_named_from_the_current_folder(mlxbuild: CommandLine) -> None:
    told = mlxbuild("create", "--locked")
    said = "error[lock-missing]: there is no lock\n  --> ModelSpec.lock\nhint: run `mlxbuild lock` and commit it\n"
    assert (told.code, told.err) == (7, said)


def test_all_locks_that_cannot_be_used_are_named_at_once(mlxbuild: CommandLine) -> None:
    for name in ("one", "two", "three"):
        (mlxbuild.folder / f"{name}.yaml").write_text(f"name: {name}\nversion: '1'\nbase: {{path: model}}\n")
    (mlxbuild.folder / "ModelSpec.yaml").unlink()
    assert mlxbuild("lock", "one.yaml", "two.yaml").out.endswith("\n2 locks are fresh\n")
    assert mlxbuild("lock", "one.yaml", "two.yaml").out == "2 locks are fresh\n"
    assert mlxbuild("lock", "--check", "one.yaml", "two.yaml").out == "2 locks are fresh\n"
    (mlxbuild.folder / "two.yaml").write_text("name: two\nversion: '1'\nbase: {path: ./model}\n")
    said = (
        "error[locks-unusable]: 2 locks cannot be used\n"
        "  three.lock: there is no lock\n"
        "  two.lock: the lock is stale: `base` is `./model` in the recipe, and `model` in the lock\n"
        "hint: run `mlxbuild lock` for these recipes, and commit them\n"
    )
    for command in (("lock", "--check"), ("create", "--locked"), ("plan", "--locked")):
        told = mlxbuild(*command, "one.yaml", "three.yaml", "two.yaml")
        assert (told.code, told.out, told.err) == (7, "", said)


def test_the_numbers_of_a_build_add_up(mlxbuild: CommandLine, edit: Callable[[str, str], None]) -> None:
    for change in ("40MiB", "41MiB"):
        edit("40MiB", change)
        told = mlxbuild("create").err
        begun = re.search(r"^building .* \((\d+) actions, (\d+) source files\)$", told, re.MULTILINE)
        assert begun is not None
        (last,) = re.findall(r"^\d+ (?:cached|shared|ran).* in .*$", told, re.MULTILINE)
        parts = last.rpartition(" in ")[0].split(", ")
        assert sum(int(part.split()[0]) for part in parts) == int(begun[1]) + int(begun[2])
        assert f"[{begun[1]}/{begun[1]}]\n" in told
    assert re.search(r", \d+ source files not needed in ", last)


def test_a_plan_counts_gates_by_their_last_time(mlxbuild: CommandLine, edit: Callable[[str, str], None]) -> None:
    mlxbuild.built()
    note = "note: no tag names version 2.0 of tiny:int4; these are the last two builds of any version\n"
    assert mlxbuild("why", "tiny:int4@2.0").err == note
    assert mlxbuild("why", "tiny:int4@1.0").err == ""
    edit("Be brief.", "Be very brief.")
    actions = json.loads(mlxbuild("plan", "--json").out)["actions"]
    gates = [action for action in actions if action["step"] == "gate" and action["status"] == "unknown"]
    assert len(gates) == 4
    assert all(gate["seconds"] > 0 for gate in gates)


def test_lint_warns_of_a_license_that_spdx_does_not_know(
    mlxbuild: CommandLine, edit: Callable[[str, str], None]
) -> None:
    edit("system_prompt:", "license: Apache2\nsystem_prompt:")
    told = mlxbuild("lint")
    assert told.code == 0
    assert told.out.startswith("warning[spec-value]: `Apache2` is not an SPDX expression\n")
    assert told.out.endswith("hint: did you mean `Apache-2.0`?\n")
    edit("Apache2", "Apache-2.0 OR LicenseRef-mine")
    assert mlxbuild("lint").out == "1 recipe is fine\n"


def test_a_recipe_that_is_not_there(mlxbuild: CommandLine) -> None:
    hint = "hint: name a recipe or its folder, or write a first one with `mlxbuild init MODEL`\n"
    (mlxbuild.folder / "ModelSpec.yaml").unlink()
    for command in ("lint", "lock", "plan", "create", "graph"):
        told = mlxbuild(command)
        assert (told.code, told.err) == (2, f"error[recipe-missing]: there is no recipe `ModelSpec.yaml`\n{hint}")
        told = mlxbuild(command, ".")
        assert (told.code, told.err) == (2, f"error[recipe-missing]: there is no recipe in `.` or below it\n{hint}")


def test_a_base_that_is_gone_has_to_be_put_back(mlxbuild: CommandLine, edit: Callable[[str, str], None]) -> None:
    model = mlxbuild.folder / "model"
    edit("base: {path: model}", f"base: {{path: {model}}}")
    edit("[int4, none]", "[none]")
    mlxbuild.built("none")
    labels = [action["label"] for action in json.loads(mlxbuild("log", "last", "--json").out)["actions"]]
    assert f"fetch{model}/config.json" in labels
    for file in model.iterdir():
        file.unlink()
    told = mlxbuild("verify", "tiny:none", "--rebuild", "-f", "ModelSpec.yaml")
    assert told.code == 2
    assert "error[source-missing]: the base was a folder outside of its recipe's" in told.err
    assert "builds this artifact again: restore it, or name a recipe with `-f` whose base is a copy of it\n" in told.err
    told = mlxbuild("create", "--frozen", env={"MLXBUILD_HOME": str(mlxbuild.folder / "other-home")})
    assert told.code == 7
    hint = "restore it: only that builds this artifact again. To use another base, name it in the recipe and lock it"
    assert (
        f"error[lock-stale]: `config.json` is gone from `{model}`\n  --> {model}/config.json\nhint: {hint}\n"
        in told.err
    )
    model.rename(mlxbuild.folder / "moved")
    told = mlxbuild("verify", "tiny:none", "--rebuild")
    assert told.code == 2
    assert "builds this artifact again: restore it, or name a recipe with `-f` whose base is a copy of it\n" in told.err


def test_a_build_ends_with_a_table(mlxbuild: CommandLine, edit: Callable[[str, str], None]) -> None:
    head, *rows = [line.split() for line in mlxbuild("create").err.splitlines()[-3:]]
    assert head == ["VARIANT", "SIZE", "BITS", "SECONDS", "HITS", "GATES"]
    assert [(row[0], *row[5:]) for row in rows] == [
        (name, "0", "of", row[7], "2", "of", "2") for name, row in zip(("tiny:int4", "tiny:none"), rows, strict=True)
    ]
    assert float(rows[0][3]) < float(rows[1][3])
    assert "VARIANT" not in mlxbuild("create").err
    edit("max: 40MiB", "max: 1KiB")
    refused = [line.split() for line in mlxbuild("create", "--keep-going").err.splitlines()]
    assert [row[-4:] for row in refused if row[:1] == ["tiny:int4"]] == [["1", "of", "2", "FAILED"]]
    for quiet in ("none", "json", "github"):
        assert "VARIANT" not in mlxbuild("create", "--refresh", "pack", "--progress", quiet).err
