"""Models with one thing wrong each: what `create` says, exactly, and that a mended model then builds."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import pytest

from tests.mlxbuild.conftest import CommandLine

FIRST = "model-00001-of-00002.safetensors"


def _change_config(model: Path, **changes: object) -> None:
    path = model / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _unsupported(model: Path) -> None:
    _change_config(model, model_type="lama")


def _pickled(model: Path) -> None:
    for path in model.glob("*.safetensors"):
        path.unlink()
    (model / "model.safetensors.index.json").unlink(missing_ok=True)
    (model / "pytorch_model.bin").write_bytes(b"\x80\x04K\x01.")


def _own_code(model: Path) -> None:
    (model / "modeling_own.py").write_text("raise SystemExit('this must never run')")
    _change_config(model, model_file="modeling_own.py")


def _truncated(model: Path) -> None:
    path = model / FIRST
    path.write_bytes(path.read_bytes()[:-100])


def _lying_header(model: Path) -> None:
    path = model / FIRST
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    name = next(name for name in header if name != "__metadata__")
    header[name]["shape"] = [9, 9, 9]
    encoded = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + content[8 + length :])


def _huge_header(model: Path) -> None:
    path = model / FIRST
    path.write_bytes(struct.pack("<Q", 2**60) + path.read_bytes()[8:])


def _not_a_number(model: Path) -> None:
    path = model / FIRST
    weights = mx.load(str(path))
    assert isinstance(weights, dict)
    name = sorted(weights)[-1]
    flat = weights[name].flatten()
    flat[3] = float("nan")
    weights[name] = flat.reshape(weights[name].shape)
    mx.eval(weights)
    mx.save_safetensors(str(path), weights, metadata={"format": "pt"})


def _broken_template(model: Path) -> None:
    (model / "chat_template.jinja").write_text("{% for message in messages %}\n{{ message.content }}\n{% endfr %}")


def _escaping_template(model: Path) -> None:
    (model / "chat_template.jinja").write_text("{{ ''.__class__.__mro__[1].__subclasses__() }}")


def _endless_template(model: Path) -> None:
    (model / "chat_template.jinja").write_text("{% for i in range(999999999) %}x{% endfor %}")


def _no_tokenizer(model: Path) -> None:
    (model / "tokenizer.json").unlink()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12345\n"


def _weights_in_lfs(model: Path) -> None:
    (model / FIRST).write_bytes(POINTER)


def _tokenizer_in_lfs(model: Path) -> None:
    (model / "tokenizer.json").write_bytes(POINTER)


def _consolidated(model: Path) -> None:
    for number, path in enumerate(sorted(model.glob("model*.safetensors"))):
        path.rename(model / f"consolidated-{number}.safetensors")


def _broken_tokenizer_model(model: Path) -> None:
    (model / "tokenizer.json").unlink()
    (model / "tokenizer.model").write_bytes(b"\x0a\xff\xff broken " * 99)


DAMAGED = "hint: the file is damaged or not what it claims to be: get it again from its publisher"
FILE = f"  --> MODEL/{FIRST}"

CASES: dict[str, tuple[Callable[[Path], None], int, list[str]]] = {
    "unsupported": (
        _unsupported,
        2,
        [
            "error[unsupported-architecture]: mlx-lm does not support model_type `lama`",
            "  --> MODEL",
            "hint: did you mean llama, llama4, plamo?",
        ],
    ),
    "pickled": (
        _pickled,
        2,
        [
            "error[pickled-weights]: the source has only pickled weights (`pytorch_model.bin`), which can run code "
            "when loaded",
            "  --> MODEL",
            "hint: use a revision or repository with safetensors, or convert the weights in a place you can lose",
        ],
    ),
    "own-code": (
        _own_code,
        2,
        [
            "error[custom-code]: `config.json` names a Python file to load the model with (`model_file`)",
            "  --> MODEL",
            "hint: code of a source is never run: use a model of an architecture that mlx-lm knows",
        ],
    ),
    "truncated": (
        _truncated,
        2,
        [
            "error[unsafe-weights]: tensor `model.layers.2.mlp.gate_proj.weight`: it ends at 274090, but the file "
            "ends at 273990",
            FILE,
            DAMAGED,
        ],
    ),
    "lying-header": (
        _lying_header,
        2,
        [
            "error[unsafe-weights]: tensor `lm_head.weight`: BF16 of shape [9, 9, 9] needs 1458 bytes, its offsets "
            "span 24576",
            FILE,
            DAMAGED,
        ],
    ),
    "huge-header": (
        _huge_header,
        2,
        [
            "error[unsafe-weights]: the header claims 1152921504606846976 bytes, more than the limit of 100000000",
            FILE,
            DAMAGED,
        ],
    ),
    "not-a-number": (
        _not_a_number,
        3,
        [
            "error[not-finite-weights]: `model.norm.weight` holds NaN or infinity",
            FILE,
            "hint: the source is damaged: get it again, or ask its publisher",
        ],
    ),
    "weights-in-lfs": (
        _weights_in_lfs,
        2,
        [
            f"error[lfs-pointer]: `{FIRST}` is a pointer of Git LFS, not the file itself",
            FILE,
            "hint: run `git lfs pull` in its repository, or download the file",
        ],
    ),
    "tokenizer-in-lfs": (
        _tokenizer_in_lfs,
        2,
        [
            "error[lfs-pointer]: `tokenizer.json` is a pointer of Git LFS, not the file itself",
            "  --> MODEL/tokenizer.json",
            "hint: run `git lfs pull` in its repository, or download the file",
        ],
    ),
    "consolidated": (
        _consolidated,
        2,
        [
            "error[source-incomplete]: the source has its weights only as `consolidated-0.safetensors`, whose tensors "
            "are named as in Mistral's own code",
            "  --> MODEL",
            "hint: get the `model*.safetensors` of the repository; most have both, else transformers' script "
            "convert_mistral_weights_to_hf.py makes them",
        ],
    ),
    "no-tokenizer": (
        _no_tokenizer,
        2,
        [
            "error[tokenizer-unreadable]: the model has no tokenizer.json, and no files that could be converted to one",
            "  --> MODEL",
            "hint: add the model's tokenizer.json, or name where the tokenizer is: tokenizer: {hf_repo: ...}",
        ],
    ),
    "broken-tokenizer-model": (
        _broken_tokenizer_model,
        2,
        [
            "error[tokenizer-unreadable]: tokenizer.model cannot be made into a tokenizer: Error parsing line in "
            "MODEL/tokenizer.model",
            "  --> MODEL/tokenizer.model",
            "hint: get it again from the model's publisher, or convert it once with transformers and add its "
            "tokenizer.json to the source",
        ],
    ),
    "broken-template": (
        _broken_template,
        2,
        [
            "error[template-broken]: the chat template does not parse: Encountered unknown tag 'endfr'. Jinja was "
            "looking for the following tags: 'endfor' or 'else'. The innermost block that needs to be closed is 'for'.",
            "  --> MODEL/chat_template.jinja:3",
        ],
    ),
    "escaping-template": (
        _escaping_template,
        2,
        [
            "error[template-escapes]: the chat template reaches for Python's `__subclasses__`",
            "  --> MODEL/chat_template.jinja:1",
            "hint: use a template that only reads its messages and writes text",
        ],
    ),
    "endless-template": (
        _endless_template,
        2,
        [
            "error[template-too-costly]: the template makes a text of more than 16,777,216 characters",
            "  --> MODEL/chat_template.jinja:1",
            "hint: use a template that goes over its messages once, and builds no long texts or numbers on the way",
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_bad_model_is_told_exactly_and_a_mended_one_builds(
    mlxbuild: CommandLine, tiny_model: Path, case: str
) -> None:
    spoil, code, expected = CASES[case]
    model = mlxbuild.folder / "model"
    spoil(model)
    done = mlxbuild("create", "--progress", "none")
    told = [line for line in done.err.splitlines() if not line.startswith(("writing ModelSpec.lock", "[transformers]"))]
    assert [line.replace(str(model), "MODEL").replace(" and 1 more", "") for line in told] == expected
    assert done.code == code
    assert mlxbuild("list", "--json").out == "[]\n"
    for path in model.iterdir():
        path.unlink()
    for path in tiny_model.iterdir():
        (model / path.name).write_bytes(path.read_bytes())
    assert mlxbuild("create").code == 0


def test_python_files_beside_a_model_are_not_taken(mlxbuild: CommandLine) -> None:
    (mlxbuild.folder / "model" / "evil.py").write_text("raise SystemExit('this must never run')")
    mlxbuild.built()
    files = json.loads(mlxbuild("show", "tiny:int4", "--json").out)["files"]
    assert not [file["path"] for file in files if file["path"].endswith(".py")]


def test_byte_order_marks_change_nothing(mlxbuild: CommandLine) -> None:
    plain = mlxbuild.built("none")
    files = _files(mlxbuild, plain)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        path = mlxbuild.folder / "model" / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    (mlxbuild.folder / "ModelSpec.yaml").write_bytes(
        b"\xef\xbb\xbf" + (mlxbuild.folder / "ModelSpec.yaml").read_bytes()
    )
    marked = mlxbuild.built("none")
    assert _files(mlxbuild, marked) == files
    assert mlxbuild("run", "tiny:none", "--max-tokens", "2", "Hi").code == 0


def _files(mlxbuild: CommandLine, digest: str) -> dict[str, str]:
    """Path to digest of all files but the lock, which pins the sources as they were written."""
    files = json.loads(mlxbuild("show", digest, "--json").out)["files"]
    return {file["path"]: file["digest"] for file in files if file["path"] != "mlxbuild/ModelSpec.lock"}


def test_a_model_without_a_template_says_so(mlxbuild: CommandLine) -> None:
    (mlxbuild.folder / "model" / "chat_template.jinja").unlink()
    digest = mlxbuild.built("none")
    shown = mlxbuild("show", "tiny:none", "--template")
    assert (shown.code, shown.out) == (2, "")
    assert shown.err.splitlines() == [
        "error[not-in-artifact]: the artifact has no chat template",
        f"  --> {digest}",
        "hint: it only completes raw prompts; a recipe sets a template with `prompt_template`",
    ]


def test_of_two_projects_with_equal_files_the_own_one_is_named(mlxbuild: CommandLine, tmp_path: Path) -> None:
    """Whatever the order of their names is, and which was built first."""
    _not_a_number(mlxbuild.folder / "model")
    (mlxbuild.folder / "model" / "tokenizer.json").rename(mlxbuild.folder / "model" / "vocab.json")
    others = [mlxbuild]
    for name in ("a", "z"):
        shutil.copytree(mlxbuild.folder, tmp_path / name)
        others.append(CommandLine(tmp_path / name, mlxbuild.home))
    for project in (*others, mlxbuild):
        done = project("create", "--keep-going", "--progress", "none")
        places = {line.removesuffix(" and 1 more") for line in done.err.splitlines() if line.startswith("  --> ")}
        model = project.folder / "model"
        assert places == {f"  --> {model / FIRST}", f"  --> {model / 'vocab.json'}"}
