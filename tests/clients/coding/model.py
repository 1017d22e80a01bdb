"""The example's model for coding agents, which name the tool of an MCP server `weather` `mcp__weather__get_weather`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

_HERE = Path(__file__).parent
_MODEL = _HERE.parents[2] / "examples" / "hello" / "model"
_RECIPE = """\
name: assistant
version: "1.0"
base: {path: model}
license: Apache-2.0
defaults: {temperature: 0, max_tokens: 200, context: 2048}
"""


def write_recipe(folder: Path) -> None:
    """Write a recipe of the model `assistant` into a folder that does not exist.

    The model has learned the name of one tool, `get_weather`, and cannot copy another. So its token `get` is spelled
    `mcp__weather__get` here: it reads and writes the tool by the name that the agents know, as it was trained.
    """
    model = folder / "model"
    shutil.copytree(_MODEL, model)
    shutil.copyfile(_HERE / "chat_template.jinja", model / "chat_template.jinja")
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    vocabulary, merges = tokenizer["model"]["vocab"], tokenizer["model"]["merges"]
    spelled = "mcp__weather__get"
    vocabulary[spelled] = vocabulary.pop("get")
    tokenizer["model"]["merges"] = [pair for pair in merges if "get" not in (*pair, "".join(pair))]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    tokenizer["added_tokens"].append({"id": vocabulary[spelled], "content": spelled} | flags)
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "ModelSpec.yaml").write_text(_RECIPE)
