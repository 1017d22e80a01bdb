"""Modelfiles of Ollama as recipes: each directive, what cannot be carried, and what is no Modelfile."""

from __future__ import annotations

import codecs
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxbuild.toolchain.interchange import modelfile
from mlxbuild.toolchain.interchange.errors import BadModelfile
from mlxbuild.toolchain.interchange.from_modelfile import recipe_from_modelfile
from mlxbuild.toolchain.interchange.go_template import recognise
from mlxbuild.toolchain.interchange.recognition import ImportFormat
from mlxbuild.toolchain.interchange.recognition import recognise as recognised
from mlxbuild.toolchain.sources.gguf.choice import SeveralFiles
from mlxbuild.toolchain.spec.load import lint, load
from mlxbuild.toolchain.spec.recipe import Recipe
from mlxbuild.toolchain.spec.resolved import FolderSource
from tests.toolchain.sources.gguf.tiny_gguf import tiny_gguf

CHATML = """\
{{- if .System }}<|im_start|>system
{{ .System }}<|im_end|>
{{ end }}{{ range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""
LLAMA3 = """\
{{ if .System }}<|start_header_id|>system<|end_header_id|>

{{ .System }}<|eot_id|>{{ end }}{{ if .Prompt }}<|start_header_id|>user<|end_header_id|>

{{ .Prompt }}<|eot_id|>{{ end }}<|start_header_id|>assistant<|end_header_id|>

{{ .Response }}<|eot_id|>"""
GEMMA = """\
{{- range $i, $_ := .Messages }}{{- if eq .Role "user" }}<start_of_turn>user
{{ .Content }}<end_of_turn>
{{ else if eq .Role "assistant" }}<start_of_turn>model
{{ .Content }}<end_of_turn>
{{ end }}{{- end }}<start_of_turn>model
"""
MISTRAL = "[INST] {{ if .System }}{{ .System }} {{ end }}{{ .Prompt }} [/INST]{{ .Response }}</s>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "model.safetensors").write_bytes(b"")
    tiny_gguf(tmp_path / "mmproj.gguf", general__type="mmproj")
    (tmp_path / "weights.bin").write_bytes(b"PK")
    return tmp_path


def convert(folder: Path, text: str) -> tuple[Recipe, str]:
    """The recipe, which has to lint, and all that was said."""
    written, notes = recipe_from_modelfile(text.encode(), folder / "Modelfile", in_store=lambda name: name == "hello")
    path = folder / "ModelSpec.yaml"
    path.write_text(written)
    assert lint(path) == ()
    assert all(note.split()[0] in written for note in notes)
    return load(path), "\n".join(notes)


def test_everything_that_fits_is_carried(folder: Path) -> None:
    recipe, notes = convert(
        folder,
        f"""\
# A comment
from ./weights
PARAMETER temperature 0.7
PARAMETER top_p 0.9
parameter top_k 40
PARAMETER min_p 0.05
PARAMETER repeat_penalty 1.1
PARAMETER num_ctx 4096
PARAMETER num_predict 128
PARAMETER seed 7
PARAMETER stop "<|im_end|>"
PARAMETER stop "User:"
PARAMETER stop "User:"
SYSTEM \"\"\"You are brief.
Say "yes" or: no.\"\"\"
MESSAGE user Are you there?
MESSAGE assistant "Yes."
LICENSE Apache-2.0
TEMPLATE \"\"\"{CHATML}\"\"\"
""",
    )
    (spec,) = recipe.variants()
    assert notes == ""
    assert dict(spec.defaults) == {
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.05,
        "repeat_penalty": 1.1,
        "context": 4096,
        "max_tokens": 128,
        "seed": 7,
        "stops": ["<|im_end|>", "User:"],
    }
    assert spec.system_prompt == 'You are brief.\nSay "yes" or: no.'
    assert [tuple(message.values()) for message in spec.messages] == [
        ("user", "Are you there?"),
        ("assistant", "Yes."),
    ]
    assert (spec.license, spec.prompt_template.value, spec.base.written) == ("Apache-2.0", "chatml", "weights")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("source", "base", "quantization"),
    [
        ("hf.co/Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B", "none"),
        ("https://huggingface.co/acme/hello:Q8_0", "acme/hello", "int8"),
    ],
)
def test_bases_on_the_hub_are_recognised(folder: Path, source: str, base: str, quantization: str) -> None:
    (spec,) = convert(folder, f"FROM {source}")[0].variants()
    assert spec.base.repository == base  # type: ignore[union-attr]
    assert spec.quantization.label == quantization


def test_the_folder_of_the_modelfile_itself_is_a_base(folder: Path) -> None:
    (spec,) = convert(folder, "FROM .")[0].variants()
    assert spec.base.path == folder  # type: ignore[union-attr]


def test_an_artifact_of_the_store_is_a_base(folder: Path) -> None:
    (spec,) = convert(folder, "FROM hello")[0].variants()
    assert str(spec.base.reference) == "hello"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("source", "base"),
    [
        ("qwen3:0.6b", "qwen3:0.6b"),
        ("registry.ollama.ai/library/llama3.2", "llama3.2:latest"),
        ("acme/Some_Model:Q4", "acme/Some_Model:Q4"),
        ("models.example.com:5000/a/b:c", "models.example.com:5000/a/b:c"),
    ],
)
def test_other_names_are_those_of_ollamas_registry(folder: Path, source: str, base: str) -> None:
    recipe, notes = convert(folder, f"FROM {source}")
    assert notes == ""
    assert str(recipe.variants()[0].base.name) == base  # type: ignore[union-attr]


def test_gguf_files_are_bases(folder: Path) -> None:
    tiny_gguf(folder / "Tiny-Q8_0.gguf")
    (spec,) = convert(folder, "FROM ./Tiny-Q8_0.gguf\nFROM ./mmproj.gguf")[0].variants()
    assert spec.base == FolderSource(folder, ".", "Tiny-Q8_0.gguf")
    assert spec.label == "tiny:keep@1.0"
    (folder / "several").mkdir()
    tiny_gguf(folder / "several" / "a.gguf")
    (spec,) = convert(folder, "FROM ./several")[0].variants()
    assert spec.base == FolderSource(folder / "several", "several", "a.gguf")
    tiny_gguf(folder / "several" / "b.gguf")
    with pytest.raises(SeveralFiles, match="there are 2 GGUF files"):
        convert(folder, "FROM ./several")


@pytest.mark.parametrize("source", ["some model", "hf.co/acme/hello-GGUF:Q4_K_M", "a/b/c/d"])
def test_a_base_that_cannot_be_carried_is_told_and_left_open(folder: Path, source: str) -> None:
    written, notes = recipe_from_modelfile(f"FROM {source}".encode(), folder / "Modelfile")
    assert source in notes[0]
    assert "# base: {hf_repo: organisation/name}" in written
    path = folder / "ModelSpec.yaml"
    path.write_text(written.replace("# base:", "base:"))
    assert lint(path) == ()


@pytest.mark.parametrize("source", ["model.gguf", "/gone", "./x.gguf", "~/gone.bin", "../gone"])
def test_a_file_that_does_not_exist_is_an_error(folder: Path, source: str) -> None:
    with pytest.raises(BadModelfile, match=f"there is no `{source}`") as raised:
        recipe_from_modelfile(f"# a comment\nFROM {source}".encode(), folder / "Modelfile")
    assert str(raised.value.where) == f"{folder}/Modelfile:2:1"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("PARAMETER mirostat 1", "no such parameter"),
        ("PARAMETER top_p 7", "not a value"),
        ("PARAMETER top_k many", "not a whole number"),
        ("PARAMETER num_predict 0", "not a value"),
        ("ADAPTER ./lora.gguf", "safetensors"),
        ("FROM ./mmproj.gguf", "left out, as the file holds a part of another kind (mmproj)"),
        ("FROM ./weights.bin", "pickled"),
        ("ADAPTER ./weights", "adapter_model.safetensors"),
        ("DRAFT small", "speculative"),
        ("RENDERER qwen3-coder", "template"),
        ("REQUIRES 0.19.0", "Ollama's version"),
        ('LICENSE """MIT License\nPermission"""', "reads as MIT"),
        ("LICENSE Do what you want, but not that.", "LicenseRef"),
        ("TEMPLATE Hello {{ .Prompt }}", "Go template"),
    ],
)
def test_what_cannot_be_carried_is_said(folder: Path, line: str, said: str) -> None:
    _, notes = convert(folder, f"FROM ./weights\n{line}\n")
    assert said in notes
    assert "line 2" in notes


def test_endless_answers_are_no_loss(folder: Path) -> None:
    assert convert(folder, "FROM ./weights\nPARAMETER num_predict -1")[1] == ""


@pytest.mark.parametrize(
    ("template", "name"), [(CHATML, "chatml"), (LLAMA3, "llama3"), (GEMMA, "gemma"), (MISTRAL, "mistral")]
)
def test_common_templates_are_recognised(template: str, name: str) -> None:
    assert recognise(template).named == name


def test_a_template_with_words_of_its_own_is_kept_as_a_comment(folder: Path) -> None:
    own = CHATML.replace("{{ .System }}", "You obey. {{ .System }}")
    assert recognise(own).resembles == "chatml"
    recipe, notes = convert(folder, f'FROM ./weights\nTEMPLATE """{own}"""')
    assert recipe.variants()[0].prompt_template.kind == "inherit"
    assert "resembles chatml" in notes
    assert "#   You obey. {{ .System }}<|im_end|>" in recipe.path.read_text()


def test_tools_of_a_template_are_not_dropped_in_silence(folder: Path) -> None:
    tools = CHATML.replace("{{ .System }}", "{{ .System }}{{ range $.Tools }}{{ . }}{{ end }}")
    assert "without its tools" in convert(folder, f'FROM ./weights\nTEMPLATE """{tools}"""')[1]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("FRM x", 1),
        ("FROM", 1),
        ("SYSTEM x", 1),
        ("FROM x\nPARAMETER stop", 2),
        ('FROM x\nSYSTEM """never\nclosed', 2),
        ("FROM x\nMESSAGE robot hi", 2),
    ],
)
def test_mistakes_are_told_with_their_line(text: str, line: int) -> None:
    with pytest.raises(BadModelfile) as caught:
        modelfile.read(text.encode(), "Modelfile")
    assert str(caught.value.where) == f"Modelfile:{line}"


def test_quotes_inside_quotes_and_other_encodings_are_read() -> None:
    text = 'FROM x\r\nSYSTEM "say "hi" now"\r\n'
    for data in (text.encode(), text.encode("utf-16"), b"\xef\xbb\xbf" + text.encode()):
        assert modelfile.read(data, "Modelfile")[1].value == 'say "hi" now'
    with pytest.raises(BadModelfile, match="UTF-8"):
        modelfile.read(b"FROM \xff", "Modelfile")


@given(st.text(max_size=200))
def test_any_system_prompt_becomes_a_recipe_that_says_the_same(text: str) -> None:
    """Whatever YAML thinks of it."""
    import yaml

    text = text.replace('"""', "").replace("\r", "").rstrip('"')
    data = f'FROM hf.co/a/b\nSYSTEM """{text}"""'.encode("utf-8", "replace")
    value = modelfile.read(data, "Modelfile")[1].value
    written, _ = recipe_from_modelfile(data, Path("Modelfile"))
    assert (yaml.safe_load(written).get("system_prompt") or "") == value


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for start in (b"", b"FROM x\n"):
        with suppress(BadModelfile):
            assert recipe_from_modelfile(start + data, Path("Modelfile"))[0]


def test_a_byte_order_mark_hides_no_form(tmp_path: Path) -> None:
    for form, text in ((ImportFormat.MODELFILE, "FROM hello\n"), (ImportFormat.KITFILE, "manifestVersion: 1.0.0\n")):
        path = tmp_path / "described"
        path.write_bytes(codecs.BOM_UTF8 + text.encode())
        assert recognised(path) == (form, path)
