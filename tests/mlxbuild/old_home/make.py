"""Makes `home.tar.xz`: a home with built and signed artifacts, and the recipe that they come from.

    python -m tests.mlxbuild.old_home.make ARCHIVE

The archive beside this file was made on 2026-11-29 by mlxbuild 0.1.0 at commit 2e540f9. It is never made again: later
versions must open what that one wrote, and `tests/mlxbuild/test_old_home.py` holds them to it. When the form of a home
changes once more, a second archive of the form before goes beside this one.
"""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

import mlx.core as mx
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from mlxbuild.registry.core.home import Home
from tests.mlxbuild.conftest import TEMPLATE, CommandLine
from tests.toolchain.weights.tiny_models import random_parameters

CONFIG = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "rms_norm_eps": 1e-6,
    "vocab_size": 96,
    "rope_theta": 10000.0,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
    "eos_token_id": 91,
    "torch_dtype": "bfloat16",
}

RECIPE = """\
name: tiny
version: "1.0"
description: A small random model
base: {path: model}
license: MIT
system_prompt: Be long.
defaults: {temperature: 0.5, context: 256}
variants:
  quantization: [int4, none]
tests:
  - contents: {require: [config.json, tokenizer.json], forbid: ["*.py"]}
  - size: {max: 40MiB}
  - complete: {messages: [{role: user, content: Hi}], max_tokens: 4, expect: {regex: ""}}
"""

KEPT = ("store", "cache/traces", "cache/index.sqlite", "logs/runs", "keys/mine.pub")


def write_recipe(folder: Path) -> None:
    """A recipe with a random llama of two layers, a byte-level tokenizer and a chat template."""
    model = folder / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text(json.dumps(CONFIG))
    mx.save_safetensors(
        str(model / "model.safetensors"), random_parameters(CONFIG, mx.bfloat16, seed=7), metadata={"format": "pt"}
    )
    vocabulary = {token: number for number, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet())[:90])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    tokenizer.save(str(model / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>"}
    (model / "tokenizer_config.json").write_text(json.dumps(settings))
    (model / "chat_template.jinja").write_text(TEMPLATE)
    (folder / "ModelSpec.yaml").write_text(RECIPE)


def build(folder: Path, home: Home) -> None:
    """Build two versions of the recipe, so that there is something to explain, and sign the later one."""
    mlxbuild = CommandLine(folder, home)
    recipe = folder / "ModelSpec.yaml"
    for prompt in ("Be long.", "Be brief."):
        recipe.write_text(RECIPE.replace("Be long.", prompt))
        _done(mlxbuild, "create")
    _done(mlxbuild, "keygen", "mine")
    _done(mlxbuild, "sign", "tiny:int4", "--key", "mine")


def _done(mlxbuild: CommandLine, *words: str) -> None:
    outcome = mlxbuild(*words)
    if outcome.code:
        raise SystemExit(outcome.err)


def pack(place: Path, archive: Path) -> None:
    """The folders `home` and `recipe` of a place as one archive."""
    with tarfile.open(archive, "w:xz", preset=9) as tar:
        for name in ("recipe", *(f"home/{part}" for part in KEPT)):
            tar.add(place / name, arcname=name, filter=_without_owner)


def _without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    place = Path(tempfile.gettempdir()) / "mlxbuild-old-home"
    shutil.rmtree(place, ignore_errors=True)
    write_recipe(place / "recipe")
    build(place / "recipe", Home(place / "home"))
    pack(place, Path(sys.argv[1]))
