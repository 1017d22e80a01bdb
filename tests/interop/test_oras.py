"""The oras command line pulls what we push, we pull what it pushes, and both see the same referrers."""

from __future__ import annotations

import json
from pathlib import Path

from mlxbuild.registry.artifact import media_types
from tests.interop.conftest import ASKED, Example, Tool
from tests.mlxbuild.conftest import CommandLine
from tests.registries import RegistryProcess

PLAIN = "--plain-http"


def test_oras_pulls_what_we_push(hello: Example, registry: RegistryProcess, tool: Tool, tmp_path: Path) -> None:
    name = f"{registry.host}/oras/hello:int4"
    assert hello.mlxbuild("push", "hello:int4", name).code == 0
    tool("oras", "pull", PLAIN, "--output", "pulled", name)
    for path, content in hello.blobs().items():
        assert (tmp_path / "pulled" / path).read_bytes() == content
    described = json.loads(tool("oras", "manifest", "fetch", PLAIN, "--descriptor", name))
    assert described["digest"] == hello.digests["int4"]
    listed = json.loads(tool("oras", "discover", PLAIN, "--format", "json", name))["referrers"]
    evidence = json.loads(hello.mlxbuild("evidence", "hello:int4", "--json").out)["evidence"]
    assert {each["digest"] for each in listed} == {each["digest"] for each in evidence}


def test_we_pull_what_oras_copies_and_attaches(
    hello: Example, second: CommandLine, registry: RegistryProcess, tool: Tool, tmp_path: Path
) -> None:
    name, target = f"{registry.host}/oras/from:int4", f"{registry.host}/oras/to:int4"
    assert hello.mlxbuild("push", "hello:int4", name).code == 0
    tool("oras", "copy", "--recursive", "--from-plain-http", "--to-plain-http", name, target)
    (tmp_path / "note.txt").write_text("seen")
    tool("oras", "attach", PLAIN, "--artifact-type", "application/x-note", target, "note.txt:text/plain")
    pulled = json.loads(second("pull", target, "--json").out)
    assert (pulled["digest"], len(pulled["referrers"])) == (hello.digests["int4"], 5)
    assert second("verify", target, "--key", hello.key(), "--offline").code == 0
    attached = json.loads(second("evidence", target, "--json").out)["evidence"]
    assert "application/x-note" in {each["kind"] for each in attached}


def test_we_pull_and_run_what_oras_pushes(
    hello: Example, second: CommandLine, registry: RegistryProcess, tool: Tool, tmp_path: Path
) -> None:
    """A ModelPack artifact put together by hand."""
    files = {path: content for path, content in hello.blobs("none").items() if not path.startswith("mlxbuild/")}
    words, annotations = [], {}
    for path, content in files.items():
        (tmp_path / path).write_bytes(content)
        kind = media_types.WEIGHT if path.endswith(".safetensors") else media_types.WEIGHT_CONFIG
        words.append(f"{path}:{kind}")
        annotations[path] = {media_types.FILE_PATH: path}
    digests = [
        json.loads(tool("oras", "blob", "push", PLAIN, "--descriptor", f"{registry.host}/oras/hand", path))
        for path in files
    ]
    config = {
        "descriptor": {"name": "hand"},
        "config": {"format": "safetensors"},
        "modelfs": {"type": "layers", "diffIds": [each["digest"] for each in digests]},
    }
    (tmp_path / "config-of-it.json").write_text(json.dumps(config))
    (tmp_path / "annotations.json").write_text(json.dumps(annotations))
    name = f"{registry.host}/oras/hand:1"
    settings = ["--config", f"config-of-it.json:{media_types.MODEL_CONFIG}", "--annotation-file", "annotations.json"]
    tool("oras", "push", PLAIN, "--artifact-type", media_types.MODEL_MANIFEST, *settings, name, *words)
    assert second("pull", name).code == 0
    checked = second("verify", name)
    assert (checked.code, "another tool packed it" in checked.out) == (0, True), checked.err
    assert second("run", name, *ASKED).out == hello.mlxbuild("run", "hello:none", *ASKED).out != ""
