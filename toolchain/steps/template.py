"""The step `template`: tests the chat template of the artifact and derives the model's facts."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlxbuild.registry.core import canonical_json
from mlxbuild.registry.core.digest import Blob
from mlxbuild.registry.core.errors import UserError
from mlxbuild.runtime.model.files import TEMPLATE_FILE, TOKENIZER_FILE
from mlxbuild.runtime.model.prompt import ChatTemplate, named
from mlxbuild.runtime.model.tokenizer import Tokenizer, TokenizerUnreadable
from mlxbuild.toolchain.core.action import ActionRecord, input_digest
from mlxbuild.toolchain.core.step import StepContext
from mlxbuild.toolchain.steps.embedding_facts import EMBEDDING_FILES, find_embedding
from mlxbuild.toolchain.steps.model_facts import find_facts, named_special_tokens, template_warnings
from mlxbuild.toolchain.steps.tokenizer import TOKENIZER_FILES

TEMPLATE_FILES = (*TOKENIZER_FILES, TEMPLATE_FILE, "chat_template.json", "generation_config.json", *EMBEDDING_FILES)
"""Files of a source that determine its template and facts, besides config.json."""
_CLOCK = datetime(2026, 1, 1, tzinfo=UTC)
"""The time that `strftime_now` returns while templates are tested, so that results do not depend on the day."""


class UnreadableConfiguration(UserError):
    """A JSON file of the source is not valid."""

    code = "unreadable-configuration"


class TemplateStep:
    """Parameters: `template` (kind and value), `defaults` (stops, context), `pooling` if the recipe sets it, and
    `compute` if single tensors determine MLX's compute dtype. Inputs: `config.json` and the existing
    `TEMPLATE_FILES`. Outputs: `facts`, `warnings` (a list of sentences) if any, `chat_template` if the model has one.
    """

    kind = "template"
    implementation = 4
    tools = ("jinja2", "mlx-lm", "tokenizers")

    def run(self, record: ActionRecord, context: StepContext) -> Mapping[str, Blob]:
        """Test the template and derive the facts.

        Raises:
            TemplateBroken, TemplateEscapes, TemplateRefuses: the template cannot be used; the message names the line.
            UnknownTemplate: no named template has that name.
            UnknownPooling: the model embeds in a way that is not supported.
            UnreadableConfiguration, TokenizerUnreadable: a file of the source is damaged.
        """
        files = {name: context.sources.locate(input_digest(record, name)) for name in record.inputs}
        tokenizer_config = _json(files, "tokenizer_config.json")
        special_tokens = named_special_tokens(tokenizer_config, _json(files, "special_tokens_map.json"))
        text = _template_text(record.parameters["template"], files, tokenizer_config)
        inherits = record.parameters["template"]["kind"] == "inherit" and TEMPLATE_FILE in files
        where = str(files[TEMPLATE_FILE]) if inherits else TEMPLATE_FILE
        template = None if text is None else ChatTemplate(text, special_tokens, clock=lambda: _CLOCK, file=where)
        config = _json(files, "config.json")
        documents = {name: _parsed(files[name], name) for name in EMBEDDING_FILES if name in files}
        tokenizer = _tokenizer(files)
        facts = find_facts(
            config=config,
            embedding=find_embedding(config, documents, record.parameters.get("pooling")),
            generation_config=_json(files, "generation_config.json"),
            tokenizer_config=tokenizer_config,
            special_tokens=special_tokens,
            tokenizer=tokenizer,
            template=template,
            defaults=record.parameters["defaults"],
            compute=record.parameters.get("compute"),
            strict=record.parameters["template"]["kind"] != "inherit",
        )
        outputs = {"facts": facts.to_json()}
        if text is not None:
            outputs["chat_template"] = text.encode()
        if template is not None and (warned := template_warnings(template, facts, tokenizer)):
            outputs["warnings"] = canonical_json.encode(warned)
        return dict(zip(outputs, context.store.put_all(*outputs.values()), strict=True))


def _template_text(
    chosen: Mapping[str, str], files: Mapping[str, Path], tokenizer_config: Mapping[str, Any]
) -> str | None:
    """The Jinja text; a model's own is in its own file or, in older checkpoints, inside of other files."""
    if chosen["kind"] == "named":
        return named(chosen["value"])
    if chosen["kind"] == "text":
        return chosen["value"]
    if TEMPLATE_FILE in files:
        return _text(files[TEMPLATE_FILE])
    for document in (tokenizer_config, _json(files, "chat_template.json")):
        written = document.get("chat_template")
        if isinstance(written, list):
            by_name = {entry["name"]: entry["template"] for entry in written}
            written = by_name.get("default") or next(iter(by_name.values()), None)
        if isinstance(written, str):
            return written
    return None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableConfiguration(f"{TEMPLATE_FILE} is not UTF-8: {error}", where=TEMPLATE_FILE) from None


def _tokenizer(files: Mapping[str, Path]) -> Tokenizer:
    if TOKENIZER_FILE in files:
        return Tokenizer.read(files[TOKENIZER_FILE])
    with tempfile.TemporaryDirectory() as folder:
        for name, path in files.items():
            (Path(folder) / name).symlink_to(path.absolute())
        try:
            return Tokenizer.open(Path(folder))
        except TokenizerUnreadable as error:  # it names the temporary folder of links, which is gone by then
            name = Path(str(error.where)).name
            error.where = str(files.get(name, next(iter(files.values())).parent))
            error.message = error.message.replace(folder, str(next(iter(files.values())).parent))
            raise


def _parsed(file: Path, name: str) -> Any:
    try:
        return json.loads(file.read_bytes())
    except ValueError as error:
        raise UnreadableConfiguration(f"{name} is not JSON: {error}", where=name) from None


def _json(files: Mapping[str, Path], name: str) -> dict[str, Any]:
    if name not in files:
        return {}
    document = _parsed(files[name], name)
    if not isinstance(document, dict):
        raise UnreadableConfiguration(f"{name} is not a JSON object", where=name)
    return document
