"""Kitfiles as recipes, and what a path is taken for."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlxbuild.toolchain.interchange.errors import BadKitfile, NotImportable
from mlxbuild.toolchain.interchange.from_kitfile import recipe_from_kitfile
from mlxbuild.toolchain.interchange.recognition import ImportFormat, recognise
from mlxbuild.toolchain.spec.load import lint, load

KITFILE = """\
manifestVersion: 1.0.0
package:
  name: Hello World
  version: 1.2.0
  description: A model that greets
  authors: [acme]
  license: Apache-2.0
model:
  name: hello
  path: ./weights
  framework: mlx
  parameters: {temperature: 0.5, context_length: 2048, top_p: 3, optimizer: adam}
  parts: [{path: ./lora}]
code: [{path: ./src}]
datasets: [{name: train, path: ./data}]
docs: [{path: ./README.md}]
"""


def test_everything_that_fits_is_carried_and_the_rest_told(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    written, notes = recipe_from_kitfile(KITFILE.encode(), tmp_path / "Kitfile")
    path = tmp_path / "ModelSpec.yaml"
    path.write_text(written)
    assert lint(path) == ()
    recipe = load(path)
    (spec,) = recipe.variants()
    assert (spec.name, spec.version, spec.license) == ("hello-world", "1.2.0", "Apache-2.0")
    assert (spec.description, spec.base.written) == ("A model that greets", "./weights")  # type: ignore[union-attr]
    assert dict(spec.defaults) == {"temperature": 0.5, "context": 2048}
    said = "\n".join(notes)
    for word in ("optimizer", "top_p", "./lora", "./src", "./data", "./README.md"):
        assert word in said


@pytest.mark.parametrize("model", ["model.gguf", "ghcr.io/acme/hello:latest", None])
def test_a_base_that_cannot_be_carried_is_told(tmp_path: Path, model: str | None) -> None:
    text = "manifestVersion: 1.0.0\n" + (f"model: {{path: '{model}'}}\n" if model else "")
    written, notes = recipe_from_kitfile(text.encode(), tmp_path / "Kitfile")
    assert "# base:" in written
    assert "model.path" in notes[0]


@pytest.mark.parametrize("text", ["- a", "a: [", "model: 1", "1: 2", "\x00", "!!python/object:os.system {}"])
def test_what_is_no_kitfile_is_refused(text: str) -> None:
    with pytest.raises(BadKitfile):
        recipe_from_kitfile(text.encode(), Path("Kitfile"))


@pytest.mark.parametrize(
    ("files", "form"),
    [
        ({"oci-layout": b"{}", "config.json": b"{}"}, ImportFormat.LAYOUT),
        ({"config.json": b"{}", "Modelfile": b"FROM x"}, ImportFormat.FOLDER),
        ({"Modelfile": b"FROM x"}, ImportFormat.MODELFILE),
        ({"Kitfile": b""}, ImportFormat.KITFILE),
    ],
)
def test_folders_are_told_apart(tmp_path: Path, files: dict[str, bytes], form: ImportFormat) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert recognise(tmp_path)[0] is form


@pytest.mark.parametrize(
    ("content", "form"),
    [
        (bytes(257) + b"ustar\x0000" + bytes(248), ImportFormat.ARCHIVE),
        (b"# mine\nfrom llama3\n", ImportFormat.MODELFILE),
        (KITFILE.encode(), ImportFormat.KITFILE),
    ],
)
def test_files_are_told_apart_by_content(tmp_path: Path, content: bytes, form: ImportFormat) -> None:
    (tmp_path / "something").write_bytes(content)
    assert recognise(tmp_path / "something") == (form, tmp_path / "something")


@pytest.mark.parametrize("content", [b"", b"hello"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "something").write_bytes(content)
    with pytest.raises(NotImportable):
        recognise(tmp_path / "something")
    with pytest.raises(NotImportable):
        recognise(tmp_path)
    with pytest.raises(NotImportable):
        recognise(tmp_path / "missing")
