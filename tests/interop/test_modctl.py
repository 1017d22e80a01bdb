"""modctl, the tool of ModelPack's own authors, pulls what we push, and we pull and run what it builds."""

from __future__ import annotations

import json
from pathlib import Path

from tests.interop.conftest import ASKED, Example, Tool
from tests.mlxbuild.conftest import CommandLine
from tests.registries import RegistryProcess


def test_modctl_pulls_what_we_push(hello: Example, registry: RegistryProcess, tool: Tool, tmp_path: Path) -> None:
    name = f"{registry.host}/modctl/hello:int4"
    assert hello.mlxbuild("push", "hello:int4", name).code == 0
    tool("modctl", "pull", "--plain-http", "--no-progress", "--extract-from-remote", "--extract-dir", "pulled", name)
    for path, content in hello.blobs().items():
        assert (tmp_path / "pulled" / path).read_bytes() == content
    tool("modctl", "pull", "--plain-http", "--no-progress", name)
    seen = json.loads(tool("modctl", "inspect", name))  # whose digest is of the manifest written anew
    ours = json.loads(hello.mlxbuild("inspect", "hello:int4", "--json").out)["files"]
    layers = {each["Filepath"]: each["Digest"] for each in seen["Layers"]}
    assert {**layers, "config": seen["Id"]} == {each["path"]: each["digest"] for each in ours}
    again = f"{registry.host}/modctl/again:int4"
    tool("modctl", "tag", name, again)
    tool("modctl", "push", "--plain-http", "--no-progress", again)
    assert hello.digests["int4"] in hello.mlxbuild("inspect", again).out


def test_we_pull_and_run_what_modctl_builds(
    hello: Example, second: CommandLine, registry: RegistryProcess, tool: Tool, tmp_path: Path
) -> None:
    assert hello.mlxbuild("export", "hello:none", str(tmp_path / "model"), "--copy").code == 0
    for path in (tmp_path / "model" / "mlxbuild").iterdir():
        path.unlink()
    (tmp_path / "model" / "mlxbuild").rmdir()
    tool("modctl", "modelfile", "generate", "--name", "theirs", "--output", "model", "model")
    name = f"{registry.host}/modctl/theirs:1"
    tool("modctl", "build", "--plain-http", "--no-progress", "-t", name, "-f", "model/Modelfile", "model")
    tool("modctl", "push", "--plain-http", "--no-progress", name)
    pulled = second("pull", name)
    assert pulled.code == 0, pulled.err
    checked = second("verify", name)
    assert (checked.code, "another tool packed it" in checked.out) == (0, True), checked.err
    assert second("run", name, *ASKED).out == hello.mlxbuild("run", "hello:none", *ASKED).out != ""
