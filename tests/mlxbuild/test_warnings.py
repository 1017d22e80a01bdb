"""What `create` warns of: in lines, in annotations, in the journal, and again when all is cached."""

from __future__ import annotations

import json

import mlx.core as mx

from tests.mlxbuild.conftest import CommandLine

HEAD = (
    "config.json ties the head to the embeddings, so `lm_head.weight` of model-00001-of-00002.safetensors is left out; "
    "a head that was trained on its own needs `tie_word_embeddings: false` there"
)
TOOLS = "the chat template lists tools, but it is not known how the model's calls are read: `tools` is no capability"


def _tie(mlxbuild: CommandLine, *, same: bool) -> None:
    model = mlxbuild.folder / "model"
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    files = {path: mx.load(str(path)) for path in sorted(model.glob("*.safetensors"))}
    tensors = {name: array for loaded in files.values() for name, array in dict(loaded).items()}
    for path, loaded in files.items():
        assert isinstance(loaded, dict)
        if "lm_head.weight" in loaded and same:
            loaded["lm_head.weight"] = tensors["model.embed_tokens.weight"]
        mx.eval(loaded)
        mx.save_safetensors(str(path), loaded, metadata={"format": "pt"})


def test_a_head_that_is_left_out_and_tools_that_cannot_be_called(mlxbuild: CommandLine) -> None:
    _tie(mlxbuild, same=False)
    template = mlxbuild.folder / "model" / "chat_template.jinja"
    template.write_text("{% for tool in tools or [] %}{{ tool | tojson }}{% endfor %}" + template.read_text())
    for _ in range(2):
        done = mlxbuild("create")
        assert done.code == 0, done.err
        lines = [line for line in done.err.splitlines() if line.startswith("warning: ")]
        assert lines == [f"warning: {sentence} (tiny:int4@1.0, tiny:none@1.0)" for sentence in (HEAD, TOOLS)]
    github = mlxbuild("create", "--progress", "github").err.splitlines()
    assert f"::warning::{HEAD}%0A--> tiny:int4@1.0, tiny:none@1.0" in github
    assert json.loads(mlxbuild("show", "tiny:int4", "--json").out)["facts"]["takes_tools"] is False


def test_a_head_that_is_the_embeddings_is_no_loss(mlxbuild: CommandLine) -> None:
    _tie(mlxbuild, same=True)
    done = mlxbuild("create")
    assert (done.code, "warning" in done.err) == (0, False), done.err
